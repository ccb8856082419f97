// Draining a filled queue: node bench/drain.mjs [--messages 20000] [--rounds 3] [--variants celery,fair,fast]
// Every variant in every round, on the same Redis: quote the ratios.
import { parseArgs } from "node:util";
import { prepare, release } from "./message.mjs";
import { cpuOf } from "./processes.mjs";
import { median, startRedis, startWorker } from "./setup.mjs";

const { values: options } = parseArgs({
  options: {
    messages: { type: "string", default: "20000" },
    "celery-messages": { type: "string", default: "8000" },
    rounds: { type: "string", default: "3" },
    variants: { type: "string", default: "celery,fair,fast" },
  },
});

const variants = {
  celery: { kind: "celery", args: ["-c", "2"] },
  fair: { kind: "tq", args: ["-c", "2"] },
  "fair-wide": { kind: "tq", args: ["-c", "2", "--prefetch-multiplier", "16"] },
  fast: { kind: "tq", args: ["-c", "2", "-O", "fast"] },
};

/** Every result is there when as many keys are; waiting for the last one's channel first spares most of the polling. */
async function drain(server, worker, count) {
  const { redis } = server;
  await redis.flushall();
  const last = await prepare(redis, count);
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
        await drain(server, worker, 2000); // warms up
        const count = Number(kind === "celery" ? options["celery-messages"] : options.messages);
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
