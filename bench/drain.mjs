// Draining a filled queue: node bench/drain.mjs [--task noop] [--messages 20000] [--rounds 3] [--variants celery,fair,fast]
// `--task nap` are tasks that wait 10 ms, `--task measure` have a payload of `--bytes 100000`.
// Every variant in every round, on the same Redis: quote the ratios.
import { parseArgs } from "node:util";
import { prepare, release } from "./message.mjs";
import { cpuOf } from "./processes.mjs";
import { median, startRedis, startWorker } from "./setup.mjs";

const { values: options } = parseArgs({
  options: {
    task: { type: "string", default: "noop" },
    bytes: { type: "string", default: "100000" },
    messages: { type: "string", default: "20000" },
    "celery-messages": { type: "string", default: "8000" },
    "warm-up": { type: "string", default: "20000" },
    rounds: { type: "string", default: "3" },
    variants: { type: "string", default: "celery,fair,fast" },
  },
});

const variants = {
  celery: { kind: "celery", args: ["-c", "2"] },
  fair: { kind: "tq", args: ["-c", "2"] },
  "fair-wide": { kind: "tq", args: ["-c", "2", "--prefetch-multiplier", "16"] },
  fast: { kind: "tq", args: ["-c", "2", "-O", "fast"] },
  // Ten slots each.
  celery10: { kind: "celery", args: ["-c", "10"] },
  prefork10: { kind: "tq", args: ["-c", "10"] },
  "2x5": { kind: "tq", args: ["-c", "2", "--async", "5"] },
  async10: { kind: "tq", args: ["-P", "async", "-c", "10"] },
};

const call = {
  noop: {},
  nap: { task: "bench.nap" },
  measure: { task: "bench.measure", args: ["x".repeat(Number(options.bytes))], argsrepr: "('xxx…',)" },
}[options.task];
if (call === undefined) throw new Error(`--task must be noop, nap or measure, got: ${options.task}`);

/** Every result is there when as many keys are; waiting for the last one's channel first spares most of the polling. */
async function drain(server, worker, count) {
  const { redis } = server;
  await redis.flushall();
  const last = await prepare(redis, count, call);
  const results = redis.duplicate({ db: 1 });
  const listener = redis.duplicate();
  const done = new Promise((resolve) => listener.on("message", resolve));
  await listener.subscribe(`celery-task-meta-${last}`);
  const [cpu, redisCpu, begun] = [cpuOf(worker.pid), cpuOf(server.pid), performance.now()];
  await release(redis);
  await done;
  while ((await results.dbsize()) < count + 1) await new Promise((resolve) => setTimeout(resolve, 1));
  const seconds = (performance.now() - begun) / 1000;
  const used = cpuOf(worker.pid) - cpu;
  listener.disconnect();
  results.disconnect();
  return {
    rate: count / seconds,
    cpu: (used / count) * 10_000,
    redisCpu: ((cpuOf(server.pid) - redisCpu) / count) * 10_000,
  };
}

const server = await startRedis();
const rows = {};
try {
  for (let round = 0; round < Number(options.rounds); round += 1) {
    for (const name of options.variants.split(",")) {
      const { kind, args, env } = variants[name];
      await server.redis.flushall();
      const worker = await startWorker(kind, server.url, args, env);
      try {
        const count = Number(kind === "celery" ? options["celery-messages"] : options.messages);
        await drain(server, worker, Math.min(Number(options["warm-up"]), count));
        const row = await drain(server, worker, count);
        rows[name] ??= [];
        rows[name].push(row);
        console.log(
          `${name.padEnd(12)} ${row.rate.toFixed(0).padStart(7)} tasks/s   ${row.cpu.toFixed(2)} CPU s/10k   redis ${row.redisCpu.toFixed(2)}`,
        );
      } finally {
        await worker.stop();
      }
    }
  }
} finally {
  server.stop();
}
console.log("\nmedians, and the ratio to Celery of the same round:");
for (const [name, runs] of Object.entries(rows)) {
  const ratios = rows.celery ? runs.map((run, round) => run.rate / rows.celery[round].rate) : [];
  const ratio = ratios.length > 0 ? `${median(ratios).toFixed(1)}x` : "";
  console.log(
    `${name.padEnd(12)} ${median(runs.map((run) => run.rate))
      .toFixed(0)
      .padStart(7)} tasks/s   ${median(runs.map((run) => run.cpu)).toFixed(2)} CPU s/10k   ${ratio}`,
  );
}
