// Cost per task against the depth of the queue: node bench/depth.mjs [--depths 1000,10000,100000,1000000] [--tasks 20000]
// A queue of each depth is filled; the time of the first `tasks` (or all) of it is taken.
import { parseArgs } from "node:util";
import { prepare, release } from "./message.mjs";
import { cpuOf } from "./processes.mjs";
import { startRedis, startWorker } from "./setup.mjs";

const { values: options } = parseArgs({
  options: {
    depths: { type: "string", default: "1000,10000,100000,1000000" },
    tasks: { type: "string", default: "20000" },
  },
});

const server = await startRedis();
try {
  for (const depth of options.depths.split(",").map(Number)) {
    const count = Math.min(depth, Number(options.tasks));
    await server.redis.flushall();
    await prepare(server.redis, depth);
    const worker = await startWorker("tq", server.url, ["-c", "2", "-O", "fast"]);
    const results = server.redis.duplicate({ db: 1 });
    while (!worker.log.includes("celery@")) await new Promise((resolve) => setTimeout(resolve, 10));
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const [cpu, begun] = [cpuOf(worker.pid), performance.now()];
    await release(server.redis);
    while ((await results.dbsize()) < count) await new Promise((resolve) => setTimeout(resolve, 2));
    const seconds = (performance.now() - begun) / 1000;
    const done = await results.dbsize();
    console.log(
      `${String(depth).padStart(8)} queued: ${((seconds / done) * 1e6).toFixed(1)} us per task, ${(((cpuOf(worker.pid) - cpu) / done) * 10_000).toFixed(2)} CPU s/10k`,
    );
    results.disconnect();
    await server.redis.flushall();
    await worker.stop();
  }
} finally {
  server.stop();
}
