// Round trip on an idle system: node bench/rtt.mjs [--calls 500] [--warm-up 3000] [--rounds 3]
// Both processes have been up for a while then: the engine optimizes what has run a few thousand times.
// The client's delay() and get(), one after another; for Celery its own client does the same.
import { parseArgs } from "node:util";
import { Tq } from "../dist/index.js";
import { median, runPython, startRedis, startWorker } from "./setup.mjs";

const { values: options } = parseArgs({
  options: {
    calls: { type: "string", default: "500" },
    "warm-up": { type: "string", default: "3000" },
    rounds: { type: "string", default: "3" },
  },
});
const calls = Number(options.calls);
const warmUp = Number(options["warm-up"]);
const at = (times, share) => [...times].sort((a, b) => a - b)[Math.floor(times.length * share)];

async function tqClient(url) {
  const app = new Tq("bench", { broker: `${url}/0`, backend: `${url}/1` });
  const noop = app.task("bench.noop", (n) => n);
  const times = [];
  for (let i = 0; i < calls + warmUp; i += 1) {
    const begun = performance.now();
    await (await noop.delay(i)).get({ timeout: 10 });
    if (i >= warmUp) times.push(performance.now() - begun);
  }
  await app.close();
  return times;
}

const celeryClient = `
import sys, time, json
from bench_celery import noop
times = []
for i in range(${calls} + ${warmUp}):
    t = time.perf_counter()
    noop.delay(i).get(timeout=10)
    if i >= ${warmUp}: times.append((time.perf_counter() - t) * 1000)
print(json.dumps(times))
`;

const pythonClient = async (url) => JSON.parse(await runPython(celeryClient, url));

const server = await startRedis();
const rows = { tq: [], celery: [] };
try {
  for (let round = 0; round < Number(options.rounds); round += 1) {
    for (const [kind, client] of [
      ["celery", pythonClient],
      ["tq", tqClient],
    ]) {
      await server.redis.flushall();
      const worker = await startWorker(kind, server.url, ["-c", "2"]);
      try {
        const times = await client(server.url);
        rows[kind].push(times);
        console.log(
          `${kind.padEnd(8)} p50 ${at(times, 0.5).toFixed(2)} ms   p90 ${at(times, 0.9).toFixed(2)}   p99 ${at(times, 0.99).toFixed(2)}`,
        );
      } finally {
        await worker.stop();
      }
    }
  }
} finally {
  server.stop();
}
for (const [kind, runs] of Object.entries(rows)) {
  console.log(`${kind.padEnd(8)} median of p50 ${median(runs.map((times) => at(times, 0.5))).toFixed(2)} ms`);
}
