// A chord of many, from the call to the result of its body: node bench/canvas.mjs [--members 5000] [--rounds 3]
// Each client composes and calls it, and waits with get(); the same Redis, two children each, in turn.
import { parseArgs } from "node:util";
import { chord, Tq } from "../dist/index.js";
import { median, runPython, startRedis, startWorker } from "./setup.mjs";

const { values: options } = parseArgs({
  options: { members: { type: "string", default: "5000" }, rounds: { type: "string", default: "3" } },
});
const members = Number(options.members);

async function tqClient(url) {
  const app = new Tq("bench", { broker: `${url}/0`, backend: `${url}/1` });
  const noop = app.task("bench.noop", (n) => n);
  const total = app.task("bench.total", (numbers) => numbers.reduce((sum, n) => sum + n, 0));
  const run = async (count) => {
    const header = Array.from({ length: count }, (_, n) => noop.s(n));
    const begun = performance.now();
    const result = await chord(header, total.s()).delay();
    const sum = await result.get({ timeout: 300 });
    if (sum !== (count * (count - 1)) / 2) throw new Error(`the body made ${sum} of ${count} members`);
    return (performance.now() - begun) / 1000;
  };
  await run(50);
  const seconds = await run(members);
  await app.close();
  return seconds;
}

const celeryClient = `
import time
from celery import chord
from bench_celery import noop, total
def run(count):
    header = [noop.s(n) for n in range(count)]
    begun = time.perf_counter()
    assert chord(header)(total.s()).get(timeout=300) == count * (count - 1) // 2
    return time.perf_counter() - begun
run(50)
print(run(${members}))
`;

const celeryRun = async (url) => Number(await runPython(celeryClient, url));

const server = await startRedis();
const rows = { celery: [], tq: [] };
try {
  for (let round = 0; round < Number(options.rounds); round += 1) {
    for (const [kind, client] of [
      ["celery", celeryRun],
      ["tq", tqClient],
    ]) {
      await server.redis.flushall();
      const worker = await startWorker(kind, server.url, ["-c", "2"]);
      try {
        const seconds = await client(server.url);
        rows[kind].push(seconds);
        console.log(`${kind.padEnd(8)} ${seconds.toFixed(2)} s`);
      } finally {
        await worker.stop();
      }
    }
  }
} finally {
  server.stop();
}
const ratios = rows.tq.map((seconds, round) => rows.celery[round] / seconds);
console.log(
  `chord of ${members}: tq ${median(rows.tq).toFixed(2)} s, Celery ${median(rows.celery).toFixed(2)} s, ${median(ratios).toFixed(1)}x`,
);
