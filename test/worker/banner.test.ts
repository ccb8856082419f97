import { expect, test } from "vitest";
import { type BannerFacts, banner } from "../../src/worker/banner.ts";

const facts: BannerFacts = {
  hostname: "tq@MBP.local",
  version: "5.6.0 (recovery)",
  platform: "macOS-15.7.3-arm64-arm-64bit-Mach-O",
  now: new Date(2025, 11, 28, 11, 43, 42, 407),
  app: "proj:0x1081096a0",
  transport: "redis://localhost:6379/0",
  results: "redis://localhost:6379/0",
  concurrency: 10,
  pool: "prefork",
  taskEvents: false,
  queues: [{ name: "celery", exchange: { name: "celery", type: "direct" }, routingKey: "celery" }],
  tasks: ["proj.tasks.xsum", "celery.chord", "proj.tasks.add", "proj.tasks.mul"],
  loglevel: "INFO",
};

test("the banner is Celery's, line for line", () => {
  expect(banner(facts)).toBe(`tq@MBP.local v5.6.0 (recovery)

macOS-15.7.3-arm64-arm-64bit-Mach-O 2025-12-28 11:43:42

[config]
.> app:         proj:0x1081096a0
.> transport:   redis://localhost:6379/0
.> results:     redis://localhost:6379/0
.> concurrency: 10 (prefork)
.> task events: OFF (enable -E to monitor tasks in this worker)

[queues]
.> celery           exchange=celery(direct) key=celery


[tasks]
  . proj.tasks.add
  . proj.tasks.mul
  . proj.tasks.xsum

`);
});

test("built-in tasks are listed at DEBUG alone, and no tasks above INFO", () => {
  expect(banner({ ...facts, loglevel: "debug" })).toContain("[tasks]\n  . celery.chord\n  . proj.tasks.add\n");
  const quiet = banner({ ...facts, loglevel: "WARNING" });
  expect(quiet).not.toContain("[tasks]");
  expect(quiet.endsWith("key=celery\n\n")).toBe(true);
});

test("autoscaling, events and several queues show", () => {
  const text = banner({
    ...facts,
    concurrency: { min: 0, max: 10 },
    taskEvents: true,
    queues: [
      { name: "hipri", exchange: { name: "celery", type: "direct" }, routingKey: "hipri" },
      { name: "a.very.long.name.of.a.queue", exchange: { name: "news", type: "topic" }, routingKey: "a.#" },
    ],
  });
  expect(text).toContain(".> concurrency: {min=0, max=10} (prefork)\n.> task events: ON\n");
  expect(text).toContain(
    "[queues]\n.> hipri            exchange=celery(direct) key=hipri\n" +
      ".> a.very.long.name.of.a.queue exchange=news(topic) key=a.#\n",
  );
});
