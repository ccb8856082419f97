// Publishing: one by one (each awaited), many at once, in bulk; and draining the embedded store.
// node bench/publish.mjs [--calls 20000]
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Tq } from "../dist/index.js";
import { cpuOf } from "./processes.mjs";
import { startRedis, startWorker } from "./setup.mjs";

const { values: options } = parseArgs({ options: { calls: { type: "string", default: "20000" } } });
const calls = Number(options.calls);

async function publishing(name, broker) {
  const app = new Tq("bench", { broker, backend: "disabled://" });
  const noop = app.task("bench.noop", (n) => n);
  await noop.delay(0);
  const timed = async (what, count, work) => {
    const begun = performance.now();
    await work();
    console.log(
      `${name.padEnd(10)} ${what.padEnd(22)} ${((count / (performance.now() - begun)) * 1000).toFixed(0).padStart(8)}/s`,
    );
  };
  await timed("one by one", calls, async () => {
    for (let n = 0; n < calls; n += 1) await noop.delay(n);
  });
  await timed("at once", calls, () => Promise.all(Array.from({ length: calls }, (_, n) => noop.delay(n))));
  const bulk = Array.from({ length: calls * 2 }, (_, n) => [n]);
  await timed("in bulk (delayMany)", calls * 2, () => noop.delayMany(bulk));
  await app.close();
}

async function embedded(folder) {
  const url = `sqlite://${join(folder, "drain.db")}`;
  const app = new Tq("bench", { broker: url, backend: url });
  const noop = app.task("bench.noop", (n) => n);
  for (const [name, args] of [
    ["fair", ["-c", "2"]],
    ["fast", ["-c", "2", "-O", "fast"]],
  ]) {
    const worker = await startWorker("tq", "", args, { BENCH_BROKER: url, BENCH_BACKEND: url });
    const [warm] = await noop.delayMany([[0]]);
    await warm.get({ timeout: 20 });
    const [cpu, begun] = [cpuOf(worker.pid), performance.now()];
    const results = await noop.delayMany(Array.from({ length: calls }, (_, n) => [n]));
    await results.at(-1).get({ timeout: 60 });
    const seconds = (performance.now() - begun) / 1000;
    console.log(
      `embedded store, ${name}: ${(calls / seconds).toFixed(0)} tasks/s end to end, publishing included, ${(((cpuOf(worker.pid) - cpu) / calls) * 10_000).toFixed(2)} CPU s/10k`,
    );
    await worker.stop();
  }
  await app.close();
}

const folder = mkdtempSync(join(tmpdir(), "tq-bench-"));
const server = await startRedis();
try {
  await publishing("redis", `${server.url}/0`);
  await publishing("embedded", `sqlite://${join(folder, "tq.db")}`);
  if (process.env.TQ_TEST_AMQP_URL) await publishing("rabbitmq", process.env.TQ_TEST_AMQP_URL);
  await embedded(folder);
} finally {
  server.stop();
  rmSync(folder, { recursive: true, force: true });
}
