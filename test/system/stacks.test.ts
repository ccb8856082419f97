import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { linesOf } from "../contract/pool.ts";
import { type BrokerKind, brokerKinds } from "../helpers/brokers.ts";
import { root } from "../helpers/build.ts";
import { childrenOf } from "../helpers/child.ts";
import { listeningPorts } from "../helpers/listening-ports.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";

const [embedded] = brokerKinds as unknown as [BrokerKind];
const source = join(root, "test", "apps", "blocked.ts");

/** `file:line` of the app where some code stands. */
function placeOf(code: string): string {
  const line = readFileSync(source, "utf8")
    .split("\n")
    .findIndex((text) => text.includes(code));
  return `${source}:${line + 1}`;
}

/** A worker on the embedded store, and a client of it. */
async function stage(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const broker = await embedded.make();
  const folder = await temporaryFolder();
  const worker = startWorker({ app: source, args, env: { ...broker.env, BLOCKED_QUEUE: broker.queue, ...env } });
  const app = new Tq("client", {
    broker: broker.env.TQ_BROKER_URL,
    backend: broker.env.TQ_RESULT_BACKEND,
    taskDefaultQueue: broker.queue,
  });
  let blocked = 0;
  const report = async (): Promise<string> => {
    const begins = (): number[] =>
      worker.lines.flatMap((line, index) => (line.includes(": WARNING/MainProcess] Report of ") ? [index] : []));
    const before = begins().length;
    worker.signal("SIGUSR1");
    await until(() => begins().length > before, { message: worker.output });
    return worker.lines.slice(begins()[before] as number).join("\n");
  };
  await worker.ready();
  return {
    worker,
    /** Resolves once it has begun; `end` has it end, and gives its result. */
    async block(task: string, ...more: readonly unknown[]) {
      blocked += 1;
      const file = folder.file(`${blocked}`);
      const result = await app.sendTask(`blocked.${task}`, [file, ...more]);
      await until(() => linesOf(file).length === 1, { message: `${task} to begin` });
      return {
        pid: Number(linesOf(file)[0]),
        finish: () => writeFileSync(`${file}.end`, ""),
        end: (): Promise<unknown> => {
          writeFileSync(`${file}.end`, "");
          return result.get({ timeout: 20 });
        },
      };
    },
    /** The report a signal asks for. */
    report,
    /** The first report with all of these in it: a busy machine may take longer than a report waits. */
    async reportWith(...texts: readonly string[]): Promise<string> {
      let last = "";
      const isComplete = async (): Promise<boolean> => {
        last = await report();
        return texts.every((text) => last.includes(text));
      };
      await until(isComplete, { timeout: 40, message: worker.output });
      return last;
    },
    async [Symbol.asyncDispose]() {
      for (const part of [app, worker, folder, broker]) await part[Symbol.asyncDispose]();
    },
  };
}

const inLoop = `at spin (${placeOf("while (!existsSync(end))")}:`;
const inStarve = `starve (${placeOf("await null")}:`;
const heldChild = /ForkPoolWorker-\d+ \(pid \d+\): does not answer: blocked in synchronous code/g;

const isShut = (...pids: readonly number[]): Promise<unknown> =>
  until(() => pids.flatMap(listeningPorts).length === 0, { message: "every inspector to be shut" });

describe("the report of a worker shows the stack", () => {
  test("of each child that is blocked, again and again, and does nothing to the tasks", async () => {
    await using scene = await stage(["-c", "3"]);
    const { worker, block, reportWith } = scene;
    const loop = await block("loop");
    const starve = await block("starve");
    const report = await reportWith(inLoop, `at loop (${placeOf("return spin(")}:`, inStarve);
    // Who called the task is of no interest.
    expect(report).not.toMatch(/at .*\/tq\/dist\/|at .*node:internal\/process/);
    expect(report.match(heldChild)).toHaveLength(2);
    worker.signal("SIGUSR1");
    await reportWith(inLoop, inStarve);
    worker.signalGroup("SIGUSR1");
    expect(await loop.end()).toBe("done");
    expect(await starve.end()).toBe("done");
    const children = childrenOf(worker.pid);
    expect(children).toEqual(expect.arrayContaining([loop.pid, starve.pid]));
    await isShut(...children);
    expect(worker.output).not.toMatch(/Debugger|inspector/);
  });

  test("only of code in JavaScript: a child that waits for a program shuts its inspector when it comes back", async () => {
    await using scene = await stage(["-c", "1"]);
    const { worker, block, report, reportWith } = scene;
    const shell = await block("shell");
    const text = await report();
    expect(text.match(heldChild)).toHaveLength(1);
    expect(text).not.toMatch(/^ {8}at /m);
    expect(await shell.end()).toBe("done");
    const loop = await block("loop");
    expect(loop.pid).toBe(shell.pid);
    await reportWith(inLoop);
    expect(await loop.end()).toBe("done");
    await isShut(loop.pid);
    expect(worker.output).not.toMatch(/Debugger|inspector/);
  });

  test("of others, if one ends while it is asked", async () => {
    await using scene = await stage(["-c", "2"]);
    const { worker, block, report, reportWith } = scene;
    const shell = await block("shell", true);
    await block("loop");
    const asked = report();
    shell.finish();
    await asked;
    await reportWith(inLoop);
    await worker.printed("exited with 'exitcode 3'");
  });

  test("of threads, without a port", async () => {
    await using scene = await stage(["-c", "2", "-P", "threads"]);
    const { worker, block, reportWith } = scene;
    const loop = await block("loop");
    const starve = await block("starve");
    worker.signal("SIGUSR1");
    await reportWith(inLoop, inStarve);
    expect(listeningPorts(worker.pid)).toEqual([]);
    expect(await loop.end()).toBe("done");
    expect(await starve.end()).toBe("done");
  });

  test("not of a child whose code listens to the signal, and the signal does not reach it", async () => {
    await using scene = await stage(["-c", "1"], { BLOCKED_LISTENS: "1" });
    const { worker, block, report } = scene;
    const loop = await block("loop");
    expect(await report()).not.toMatch(/^ {8}at /m);
    expect(await loop.end()).toBe("done");
    expect(worker.output).toContain(`${worker.pid} had the signal`);
    expect(worker.output).not.toContain(`${loop.pid} had the signal`);
  });

  test("where debuggers may come in, unless one has been let in, which is not sent away", async () => {
    await using scene = await stage(["-c", "1"], { CELERY_RDBSIG: "1", CELERY_RDB_PORT: "17899" });
    const { worker, block, report, reportWith } = scene;
    const loop = await block("loop");
    await reportWith(inLoop);
    await isShut(loop.pid);
    process.kill(loop.pid, "SIGUSR1");
    await worker.printed(/Debugger listening on ws:\/\/127\.0\.0\.1:17900\//);
    expect(await report()).not.toMatch(/^ {8}at /m);
    expect(await loop.end()).toBe("done");
    expect(listeningPorts(loop.pid)).toEqual([17900]);
  });

  test("not where Node's own flags have opened the inspector, which stays open", async () => {
    await using scene = await stage(["-c", "1"], { NODE_OPTIONS: "--inspect=127.0.0.1:0" });
    const { worker, block, report } = scene;
    const loop = await block("loop");
    const ports = listeningPorts(loop.pid);
    expect(worker.output).toContain(`Debugger listening on ws://127.0.0.1:${ports[0]}/`);
    expect(await report()).not.toMatch(/^ {8}at /m);
    expect(await loop.end()).toBe("done");
    expect(listeningPorts(loop.pid)).toEqual(ports);
  });

  test("also after a signal to the child alone, which leaves no inspector open", async () => {
    await using scene = await stage(["-c", "1"]);
    const { worker, block, reportWith } = scene;
    const loop = await block("loop");
    process.kill(loop.pid, "SIGUSR1");
    await reportWith(inLoop);
    expect(await loop.end()).toBe("done");
    await isShut(loop.pid);
    expect(worker.output).not.toMatch(/Debugger|inspector/);
  });
});
