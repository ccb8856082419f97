import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { root } from "../helpers/build.ts";
import { type Child, startChild } from "../helpers/child.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { startWorker, type WorkerHandle } from "../helpers/worker.ts";

const node = "w1@remote";
const app = join(root, "test/apps/steered.ts");
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let env: Record<string, string>;
let worker: WorkerHandle;

beforeAll(async () => {
  folder = await temporaryFolder();
  const url = `sqlite://${folder.file("tq.db")}`;
  env = { TQ_BROKER_URL: url, TQ_RESULT_BACKEND: url, NO_COLOR: "1" };
  worker = startWorker({ app, args: ["-P", "solo", "-n", node], env });
  await worker.ready();
});

afterAll(async () => {
  for (const part of [worker, folder]) await part?.[Symbol.asyncDispose]();
});

function start(...args: string[]): Child {
  return startChild(process.execPath, [join(root, "bin/tq.js"), ...args], {
    cwd: root,
    env: { ...process.env, ...env },
  });
}

async function tq(...args: string[]): Promise<{ readonly code: number | null; readonly output: string }> {
  await using child = start(...args);
  const { code } = await child.exited;
  return { code, output: child.output };
}

/** At the same time: each waits for its second. */
const all = (...calls: readonly string[][]) => Promise.all(calls.map((args) => tq("-A", app, ...args)));

test("the workers are asked, told and counted, for people and for programs", async () => {
  const [status, ping, json, told, list] = await all(
    ["status", "-d", node],
    ["inspect", "ping", "--limit", "1"],
    ["inspect", "registered", "-j", "-d", node],
    ["control", "set_cache_level", "3", "because", "x", "y", "-d", node],
    ["control", "pool_grow", "-d", node, "--json"],
  );
  expect(status).toEqual({ code: 0, output: `->  ${node}: OK\n\n1 node online.` });
  expect(ping).toEqual({ code: 0, output: `->  ${node}: OK\n        pong\n\n1 node online.` });
  expect(json?.code).toBe(0);
  expect(JSON.parse(json?.output as string)).toEqual({ [node]: expect.arrayContaining(["wt.add"]) });
  expect(told).toEqual({ code: 0, output: `->  ${node}: OK\n        level 3, tags x+y` });
  expect(JSON.parse(list?.output as string)).toEqual([{ [node]: expect.any(Object) }]);
});

test("when nobody answers, or nobody may, the exit code says so", async () => {
  const [nobody, pattern, unknown, wrong] = await all(
    ["status", "-d", "nobody@nowhere", "-t", "0.2"],
    ["inspect", "ping", "--pattern", "x*", "--timeout", "0.2"],
    ["inspect", "pool_grow"],
    ["control", "pool_grow", "many"],
  );
  expect(nobody).toEqual({ code: 69, output: "Error: No nodes replied within time constraint" });
  expect(pattern?.code).toBe(69);
  expect(unknown?.code).toBe(2);
  expect(unknown?.output).toContain(
    "Command pool_grow not recognized. Available inspect commands: active, active_queues",
  );
  expect(unknown?.output).toContain("tq control pool_grow");
  expect(wrong?.code).toBe(2);
});

test("the help lists the commands, users' own among them", async () => {
  const [help, list, none] = await all(["inspect", "--help"], ["control", "--list"], ["inspect"]);
  expect(help?.output).toMatch(/^Inspect Commands:$/m);
  expect(help?.output).toMatch(/^ {2}cache_level +Level of the cache\.$/m);
  expect(list?.output).toMatch(/^ {2}set_cache_level <level> \[why\] /m);
  expect(list?.output).not.toContain("cache_level  ");
  expect(none).toMatchObject({ code: 0, output: expect.stringContaining("Inspect Commands:") });
});

test("Ctrl+C ends the waiting and leaves no queue behind", async () => {
  await using child = start("-A", app, "inspect", "ping", "-t", "60");
  await child.printed(`->  ${node}: OK`);
  child.signal("SIGINT");
  expect(await child.exited).toEqual({ code: 0, signal: null });
  expect(child.output).toContain("1 node online.");
});
