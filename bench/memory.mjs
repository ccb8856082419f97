// Memory of a worker and of its children under `-c 8`, and its growth while they work:
// node bench/memory.mjs [--concurrency 8] [--tasks 20000] [--rounds 4] [--args "-O fast"]
import { parseArgs } from "node:util";
import { prepare, release } from "./message.mjs";
import { memoryOf, treeOf } from "./processes.mjs";
import { startRedis, startWorker } from "./setup.mjs";

const { values: options } = parseArgs({
  options: {
    concurrency: { type: "string", default: "8" },
    tasks: { type: "string", default: "20000" },
    rounds: { type: "string", default: "4" },
    args: { type: "string", default: "" },
  },
});
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const server = await startRedis();
const children = Number(options.concurrency);
const extra = options.args.split(" ").filter(Boolean);
const worker = await startWorker("tq", server.url, ["-c", String(children), ...extra]);

/** MiB of the parent, and of one child on average. */
function look(when) {
  const whole = memoryOf(worker.pid);
  const all = treeOf(worker.pid).slice(1).map(memoryOf);
  const ofAll = (key) => all.reduce((sum, memory) => sum + memory[key], 0);
  const row = {
    rss: whole.rss - ofAll("rss"),
    pss: whole.pss - ofAll("pss"),
    childRss: ofAll("rss") / children,
    childPss: ofAll("pss") / children,
    total: whole.pss,
  };
  const text = (value) => value.toFixed(1).padStart(7);
  console.log(
    `${when.padEnd(22)} parent${text(row.rss)} rss${text(row.pss)} pss   child${text(row.childRss)} rss${text(row.childPss)} pss   all${text(row.total)} MiB pss`,
  );
  return row;
}

try {
  const deadline = Date.now() + 30_000;
  while (treeOf(worker.pid).length < children + 1 && Date.now() < deadline) await wait(50);
  await wait(2_000);
  const idle = look("idle");
  let last = idle;
  const results = server.redis.duplicate({ db: 1 });
  for (let round = 1; round <= Number(options.rounds); round += 1) {
    await server.redis.flushall();
    const count = Number(options.tasks);
    await prepare(server.redis, count);
    await release(server.redis);
    while ((await results.dbsize()) < count) await wait(20);
    await wait(500);
    last = look(`after ${round * count} tasks`);
  }
  results.disconnect();
  console.log(`growth since idle: child ${(last.childPss - idle.childPss).toFixed(1)} MiB pss`);
} finally {
  await worker.stop();
  server.stop();
}
