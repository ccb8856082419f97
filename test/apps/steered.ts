import { setTimeout as sleep } from "node:timers/promises";
import { Tq } from "tq";

/** Tasks and commands for tests of remote control. Broker and backend come from the environment. */
export const app = new Tq("steered", {
  taskDefaultQueue: process.env.ACTS_QUEUE ?? "celery",
  workerPoolRestarts: true,
  acceptContent: ["json"],
});

export const add = app.task("wt.add", (x: number, y: number) => x + y);

export const limited = app.task("wt.limited", { rateLimit: "10/m", maxRetries: 2 }, (x: number) => x);

export const slow = app.task("wt.slow", async (seconds: number) => {
  await sleep(seconds * 1000);
  return seconds;
});

/** Holds its process for so long, without a pause. */
export const spin = app.task("wt.spin", (seconds: number) => {
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end);
  return seconds;
});

let level = 1;

app.controlCommand(
  "cache_level",
  { type: "inspect", help: "Level of the cache.", alias: "dump_cache_level" },
  ({ hostname }) => ({ level, node: hostname }),
);

app.controlCommand(
  "set_cache_level",
  { help: "Set the level of the cache.", args: { level: "int", why: "str" }, variadic: "tags", required: ["level"] },
  ({ logger }, args) => {
    level = args.level ?? 0;
    logger.info("cache level is %d (%s)", level, args.why ?? "no reason");
    return { ok: `level ${level}, tags ${(args.tags ?? []).join("+")}` };
  },
);

app.controlCommand("break_down", { help: "Fail." }, () => {
  throw new RangeError("it's broken");
});
