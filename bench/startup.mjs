// From exec to the first task done, and memory when idle: node bench/startup.mjs [--rounds 5] [--concurrency 8]
import { parseArgs } from "node:util";
import { envelope } from "./message.mjs";
import { memoryOf } from "./processes.mjs";
import { median, startRedis, startWorker } from "./setup.mjs";

const { values: options } = parseArgs({
  options: { rounds: { type: "string", default: "5" }, concurrency: { type: "string", default: "8" } },
});

const server = await startRedis();
const rows = {};
const note = (name, value) => {
  rows[name] ??= [];
  rows[name].push(value);
};

async function startUp(kind, args) {
  await server.redis.flushall();
  const { id, text } = envelope(1);
  await server.redis.lpush("celery", text);
  const listener = server.redis.duplicate();
  const done = new Promise((resolve) => listener.on("message", resolve));
  await listener.subscribe(`celery-task-meta-${id}`);
  const begun = performance.now();
  const worker = await startWorker(kind, server.url, args);
  await done;
  const seconds = (performance.now() - begun) / 1000;
  listener.disconnect();
  await worker.stop();
  return seconds;
}

async function memory(kind) {
  await server.redis.flushall();
  const worker = await startWorker(kind, server.url, ["-c", options.concurrency]);
  // Every child has run something: none is measured half started.
  const listener = server.redis.duplicate();
  const messages = Array.from({ length: 200 }, (_, n) => envelope(n));
  let count = 0;
  const done = new Promise((resolve) =>
    listener.on("message", () => {
      count += 1;
      if (count === messages.length) resolve();
    }),
  );
  await listener.subscribe(...messages.map(({ id }) => `celery-task-meta-${id}`));
  await server.redis.lpush("celery", ...messages.map(({ text }) => text));
  await done;
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const found = memoryOf(worker.pid);
  listener.disconnect();
  await worker.stop();
  return found;
}

try {
  for (let round = 0; round < Number(options.rounds); round += 1) {
    note("celery -c 2, first task done", await startUp("celery", ["-c", "2"]));
    note(
      "celery -c 2 --without-mingle --without-gossip, first task done",
      await startUp("celery", ["-c", "2", "--without-mingle", "--without-gossip"]),
    );
    note("tq -c 2, first task done", await startUp("tq", ["-c", "2"]));
  }
  for (const [name, times] of Object.entries(rows)) console.log(`${name}: ${median(times).toFixed(3)} s`);
  for (const kind of ["celery", "tq"]) {
    const { rss, pss } = await memory(kind);
    console.log(
      `${kind} -c ${options.concurrency} idle: ${pss.toFixed(0)} MiB proportional, ${rss.toFixed(0)} MiB resident`,
    );
  }
} finally {
  server.stop();
}
