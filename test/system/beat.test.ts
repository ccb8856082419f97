import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { root } from "../helpers/build.ts";
import { type Child, isAlive, startChild } from "../helpers/child.ts";
import { celeryBin, describeWith, freshRedis } from "../helpers/services.ts";
import { type TemporaryFolder, temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { linkInstalled } from "../helpers/users.ts";
import { pythonEnv, pythonFolder } from "../helpers/worker.ts";

const project = `import { appendFileSync } from "node:fs";
import { Tq, crontab } from "tq";
let made = 0;
export const app = new Tq("proj", {
  beatSchedule: {
    "every-half": { task: "proj.mark", schedule: 0.5, args: ["half", () => ++made], options: { queue: "marks", expires: 60 } },
    "never-known": { task: "other.python.task", schedule: 0.5, kwargs: { x: 1 }, options: { routing_key: "elsewhere", queue: "elsewhere" } },
    "at-four": { task: "proj.mark", schedule: crontab({ minute: 0, hour: 4 }), args: ["four"] },
    "cannot": { task: "proj.mark", schedule: 0.5, args: [() => { throw new Error("no argument today"); }] },
  },
  ...JSON.parse(process.env.PROJ_SETTINGS ?? "{}"),
});
export const mark = app.task("proj.mark", (...words) => { appendFileSync(process.env.MARKS, words.join(" ") + "\\n"); });
app.addPeriodicTask(0.5, mark.signature(["code"], { queue: "marks" }));
`;

let folder: TemporaryFolder;
const bin = join(root, "bin", "tq.js");

beforeAll(async () => {
  folder = await temporaryFolder("tq-beat-");
  linkInstalled(folder.path, { folder: root, [Symbol.dispose]: () => undefined });
  writeFileSync(folder.file("proj.mjs"), project);
});
afterAll(() => folder[Symbol.asyncDispose]());

const settings = (name: string, more: object = {}) => ({
  brokerUrl: `sqlite://${folder.file(`${name}.db`)}`,
  resultBackend: `sqlite://${folder.file(`${name}.db`)}`,
  ...more,
});

function tq(args: readonly string[], given: object, env: Readonly<Record<string, string>> = {}): Child {
  return startChild(process.execPath, [bin, "-A", "./proj.mjs", ...args], {
    cwd: folder.path,
    env: { ...process.env, NO_COLOR: "1", MARKS: folder.file("marks"), PROJ_SETTINGS: JSON.stringify(given), ...env },
  });
}

async function sizeOf(given: { readonly brokerUrl: string }, queue: string): Promise<number> {
  await using app = new Tq("client", { broker: given.brokerUrl });
  return await (await app.broker()).size(queue);
}

describe("tq beat", () => {
  test("sends what is due, in Celery's words, and remembers over a restart when it was sent", async () => {
    const given = settings("a");
    const schedule = folder.file("a-schedule");
    await using beat = tq(["beat", "-l", "DEBUG", "-s", schedule, "--pidfile", folder.file("a.pid")], given);
    await beat.printed("Sending due task every-half (proj.mark)");
    await beat.printed("Sending due task proj.mark('code') (proj.mark)");
    await beat.printed(/other\.python\.task sent\. id->[0-9a-f-]{36}/);
    await beat.printed("Message Error: Couldn't apply scheduled task cannot");
    await beat.printed(/beat: Waking up in 0\.\d\d second\./);
    for (const line of ["is starting.", "__    -    ... __   -        _", `. db -> ${schedule}`, "beat: Starting..."])
      expect(beat.output).toContain(line);
    expect(beat.output).toContain("beat: Ticking with max interval->5.00 minutes");
    expect(beat.output).not.toContain("Sending due task at-four");
    await until(async () => (await sizeOf(given, "elsewhere")) >= 2);
    expect(Number(readFileSync(folder.file("a.pid"), "utf8"))).toBe(beat.pid);
    expect(readFileSync(`/proc/${beat.pid}/cmdline`, "utf8")).toMatch(/^\[tq beat\] -A \.\/proj\.mjs beat/);

    // A second one on the same schedule would send everything twice.
    await using second = tq(["beat", "-s", schedule], given);
    expect((await second.exited).code).toBe(73);
    expect(second.output).toContain("belongs to another beat that is running");

    beat.signal("SIGTERM");
    expect(await beat.exited).toEqual({ code: 0, signal: null });
    expect(beat.output).toContain("beat: Shutting down...");
    const kept = JSON.parse(readFileSync(schedule, "utf8"));
    expect(kept.entries["every-half"].totalRunCount).toBeGreaterThan(0);
    expect(kept.entries["at-four"].totalRunCount).toBe(0);
    expect(statSync(folder.file("a.pid"), { throwIfNoEntry: false })).toBeUndefined();
    expect(readdirSync(folder.path).filter((name) => name.startsWith("a-schedule"))).toEqual(["a-schedule"]);

    // Yesterday's run was missed: it is sent once, and what is no longer in the schedule is forgotten.
    kept.entries["at-four"].lastRunAt = new Date(Date.now() - 3 * 86_400_000).toISOString();
    kept.entries.gone = { lastRunAt: new Date().toISOString(), totalRunCount: 7 };
    writeFileSync(schedule, JSON.stringify(kept));
    await using again = tq(["beat", "-l", "INFO", "-s", schedule, "-q"], given);
    await again.printed("Sending due task at-four");
    const runs = (entry: string): number => JSON.parse(readFileSync(schedule, "utf8")).entries[entry].totalRunCount;
    await until(() => runs("at-four") === 1);
    await until(() => runs("every-half") > kept.entries["every-half"].totalRunCount);
    again.signal("SIGINT");
    expect((await again.exited).code).toBe(0);
    expect(again.lines.filter((line) => line.includes("Sending due task at-four"))).toHaveLength(1);
    expect(again.output).not.toContain("is starting.");
    const after = JSON.parse(readFileSync(schedule, "utf8")).entries;
    expect(after.gone).toBeUndefined();
  });

  test("goes on after kill -9, puts a damaged schedule aside, and begins anew when the clocks are others'", async () => {
    const schedule = folder.file("b-schedule");
    const args = ["beat", "-l", "INFO", "-s", schedule];
    await using first = tq(args, settings("b"));
    await first.printed("Sending due task every-half");
    await first.kill();
    await using next = tq(args, settings("b"));
    await next.printed("Sending due task every-half");
    await next.stop();
    expect(next.output).not.toContain("corrupted");

    await using elsewhere = tq(args, settings("b", { timezone: "Europe/Berlin" }));
    await elsewhere.printed("Reset: Timezone changed from 'UTC' to 'Europe/Berlin'");
    await elsewhere.stop();
    writeFileSync(schedule, "{ half a file");
    await using healed = tq(args, settings("b"));
    await healed.printed("Removing corrupted schedule file");
    await healed.printed("Sending due task every-half");
    await healed.stop();
    expect(readFileSync(`${schedule}.corrupt`, "utf8")).toBe("{ half a file");
  });

  test("refuses a wrong schedule by name, and a schedule it cannot write, before anything is sent", async () => {
    const wrong = settings("c", { beatSchedule: { odd: { task: "proj.mark", schedule: "61 * * * *" } } });
    await using odd = tq(["beat", "-s", folder.file("c-schedule")], wrong);
    expect((await odd.exited).code).toBe(2);
    expect(odd.output).toContain('beatSchedule["odd"].schedule: Invalid end range in crontab minute: 61 > 59.');
    await using nowhere = tq(["beat", "-s", folder.file("none", "schedule")], settings("c"));
    expect((await nowhere.exited).code).not.toBe(0);
    expect(nowhere.output).toContain("there is no folder");
  });

  test("runs in the background with a pidfile of its own, and inside a worker with -B", async () => {
    const given = settings("d");
    await using start = tq(
      ["beat", "--detach", "-l", "INFO", "-f", folder.file("d.log"), "-s", folder.file("d1")],
      given,
    );
    expect(await start.exited).toEqual({ code: 0, signal: null });
    const pid = Number(readFileSync(folder.file("celerybeat.pid"), "utf8"));
    expect(isAlive(pid)).toBe(true);
    await until(() => readFileSync(folder.file("d.log"), "utf8").includes("Sending due task every-half"));
    process.kill(pid, "SIGTERM");
    await until(() => !isAlive(pid));

    await using worker = tq(["worker", "-B", "-s", folder.file("d2"), "-Q", "marks", "-c", "1", "-l", "INFO"], given);
    await worker.printed("beat: Starting...");
    await until(() => readFileSync(folder.file("marks"), "utf8").split("\n").includes("half 2"));
    expect(readFileSync(folder.file("marks"), "utf8")).toContain("code\n");
    await using thief = tq(["beat", "-s", folder.file("d2")], given);
    expect((await thief.exited).code).toBe(73);
    await worker.stop();
    const kept = JSON.parse(readFileSync(folder.file("d2"), "utf8"));
    expect(kept.entries["every-half"].totalRunCount).toBeGreaterThanOrEqual(2);
  });
});

describeWith(["redis-server", "celery"], "tq beat on Redis", () => {
  test("sends what a Celery worker runs, and keeps what is due until a broker that was away is back", async () => {
    await using server = await freshRedis();
    const given = {
      brokerUrl: `${server.url}/0`,
      resultBackend: `${server.url}/1`,
      beatSchedule: { add: { task: "wire.echo", schedule: 0.5, args: [2], options: { queue: "celery" } } },
    };
    await using python = startChild(
      join(celeryBin(), "python"),
      ["-m", "celery", "-A", "wire", "worker", "-l", "INFO", "-P", "solo", "--without-mingle", "--without-gossip"],
      { cwd: pythonFolder, env: pythonEnv({ TQ_BROKER_URL: given.brokerUrl, TQ_RESULT_BACKEND: given.resultBackend }) },
    );
    await using beat = tq(["beat", "-l", "INFO", "-s", folder.file("redis-schedule")], given);
    await python.printed(/Task wire\.echo\[.*\] received/, { timeout: 30 });
    await server.stop();
    await beat.printed(/beat: Connection error: .*\. Trying again in \d+\.\d seconds\.\.\./, { timeout: 30 });
    const before = beat.lines.length;
    await server.restart();
    await until(() => beat.lines.slice(before).filter((line) => line.includes("Sending due task add")).length >= 2, {
      timeout: 30,
    });
    await beat.stop();
  });
});
