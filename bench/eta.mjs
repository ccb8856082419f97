// Tasks for later: node bench/eta.mjs [--parts far,warm,burst,paced] [--brokers redis,sqlite] [--far 100000] [--burst 10000] [--paced 2000]
// far: what many tasks that are due in an hour cost a worker that has done nothing yet; warm: one that has run 20,000 others;
// burst: many due at one instant; paced: one due every 5 ms. --brokers amqp: TQ_TEST_AMQP_URL names a server whose queues may be emptied.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { connect } from "amqplib";
import { Tq } from "../dist/index.js";
import { cpuOf } from "./processes.mjs";
import { startRedis, startWorker } from "./setup.mjs";

const { values: options } = parseArgs({
  options: {
    parts: { type: "string", default: "far,warm,burst,paced" },
    brokers: { type: "string", default: "redis,sqlite" },
    far: { type: "string", default: "100000" },
    burst: { type: "string", default: "10000" },
    paced: { type: "string", default: "2000" },
  },
});
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const modes = { fair: ["-c", "2"], fast: ["-c", "2", "-O", "fast"] };
const range = (count) => Array.from({ length: count }, (_, n) => [n]);

/** MiB resident of one process, without its children. */
const residentOf = (pid) => Number(/^Rss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))[1]) / 1024;

const server = await startRedis();
const folder = mkdtempSync(join(tmpdir(), "tq-bench-"));
let files = 0;

/** A place for messages and results that nobody has used, a client of it, and its figures. */
async function site(kind) {
  let urls = { BENCH_BROKER: `${server.url}/0`, BENCH_BACKEND: `${server.url}/1` };
  if (kind === "redis") await server.redis.flushall();
  else if (kind === "amqp") {
    urls.BENCH_BROKER = process.env.TQ_TEST_AMQP_URL;
    if (!urls.BENCH_BROKER) throw new Error("TQ_TEST_AMQP_URL must name a RabbitMQ server (see bench/README.md)");
    await server.redis.flushall();
  } else {
    files += 1;
    const url = `sqlite://${join(folder, `${files}.db`)}`;
    urls = { BENCH_BROKER: url, BENCH_BACKEND: url };
  }
  const app = new Tq("bench", { broker: urls.BENCH_BROKER, backend: urls.BENCH_BACKEND });
  const noop = app.task("bench.noop", (n) => n);
  const broker = await app.broker();
  if (kind === "amqp") await emptied(urls.BENCH_BROKER);
  return { app, noop, broker, start: (args) => startWorker("tq", server.url, args, urls) };
}

/** Takes away what earlier runs have left waiting on a RabbitMQ. */
async function emptied(url) {
  const connection = await connect(url);
  for (const queue of ["celery", ...Array.from({ length: 28 }, (_, level) => `tq_delayed_${level}`)]) {
    const channel = await connection.createChannel();
    channel.on("error", () => undefined);
    await channel.purgeQueue(queue).catch(() => undefined); // not there yet
  }
  await connection.close();
}

async function ready({ noop }, warming) {
  for (const result of (await noop.delayMany(range(warming))).slice(-20)) await result.get({ timeout: 60 });
  await wait(500);
}

/** Resolves when all are done, to the milliseconds from `dues` to the end of each task, ascending. */
async function lateness(results, dues) {
  for (const result of results.slice(-20)) await result.get({ timeout: 120 });
  const late = [];
  for (const [n, result] of results.entries()) {
    let done = await result.dateDone();
    while (done === null) {
      await wait(20);
      done = await result.dateDone();
    }
    late.push(done.getTime() - dues[n]);
  }
  return late.sort((a, b) => a - b);
}

const quantile = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
const told = (late) =>
  `p50 ${quantile(late, 0.5)} ms, p99 ${quantile(late, 0.99)} ms, last ${late.at(-1)} ms, too early ${late.filter((ms) => ms < 0).length}`;

async function far(kind, part) {
  const count = Number(options.far);
  const place = await site(kind);
  const worker = await place.start(modes.fair);
  try {
    // One tells that it is there.
    await ready(place, part === "warm" ? 20_000 : 1);
    await wait(1_000);
    const before = residentOf(worker.pid);
    const [cpu, begun] = [cpuOf(worker.pid), performance.now()];
    for (let sent = 0; sent < count; sent += 5_000) {
      await place.noop.delayMany(range(Math.min(5_000, count - sent)), { countdown: 3_600, ignoreResult: true });
    }
    while ((await place.broker.parked()) < count) await wait(50);
    const seconds = (performance.now() - begun) / 1000;
    await wait(3_000);
    const now = residentOf(worker.pid);
    const others = performance.now();
    await (await place.noop.delay(1)).get({ timeout: 10 });
    const passed = performance.now() - others;
    console.log(
      `${kind} ${part}, ${count} an hour ahead: worker ${(now - before).toFixed(1)} MiB more (${before.toFixed(1)} before, ${now.toFixed(1)} now); sent and parked in ${seconds.toFixed(1)} s, ${(((cpuOf(worker.pid) - cpu) / count) * 10_000).toFixed(2)} CPU s/10k; parked ${await place.broker.parked()}, waiting ${await place.broker.size("celery")}; a task for now passes in ${passed.toFixed(1)} ms`,
    );
    if (kind === "redis") {
      const held = await server.redis.keys("tq:held:*");
      let inHand = 0;
      for (const key of held) inHand += await server.redis.zcard(key);
      console.log(
        `${kind} ${part}: HLEN unacked ${await server.redis.hlen("unacked")}, ZCARD unacked_index ${await server.redis.zcard("unacked_index")}, in the worker's hand ${inHand}`,
      );
    }
  } finally {
    await worker.stop();
    await place.app.close();
  }
}

async function burst(kind, mode) {
  const count = Number(options.burst);
  const place = await site(kind);
  const worker = await place.start(modes[mode]);
  try {
    await ready(place, 4_000);
    const due = Date.now() + 4_000 + count / 4;
    const results = await place.noop.delayMany(range(count), { eta: new Date(due) });
    while ((await place.broker.parked()) < count) await wait(20);
    const spare = due - Date.now();
    await wait(Math.max(0, spare - 100));
    const cpu = cpuOf(worker.pid);
    const last = await results.at(-1).get({ timeout: 120 });
    if (last !== count - 1) throw new Error("a result is wrong");
    const late = await lateness(
      results,
      results.map(() => due),
    );
    console.log(
      `${kind} burst, ${mode}: ${count} due at once, ${spare < 0 ? "NOT " : ""}all parked before: done ${told(late)}; ${(((cpuOf(worker.pid) - cpu) / count) * 10_000).toFixed(2)} CPU s/10k`,
    );
  } finally {
    await worker.stop();
    await place.app.close();
  }
}

async function paced(kind, mode) {
  const count = Number(options.paced);
  const place = await site(kind);
  const worker = await place.start(modes[mode]);
  try {
    await ready(place, 4_000);
    const first = Date.now() + 2_500 + count / 4;
    const dues = Array.from({ length: count }, (_, n) => first + 5 * n);
    const results = await Promise.all(dues.map((due, n) => place.noop.applyAsync([n], { eta: new Date(due) })));
    await wait(Math.max(0, dues.at(-1) - Date.now()));
    console.log(`${kind} paced, ${mode}: ${count}, one due every 5 ms: done ${told(await lateness(results, dues))}`);
  } finally {
    await worker.stop();
    await place.app.close();
  }
}

try {
  for (const kind of options.brokers.split(",")) {
    for (const part of options.parts.split(",")) {
      if (part === "far" || part === "warm") await far(kind, part);
      else for (const mode of Object.keys(modes)) await (part === "burst" ? burst : paced)(kind, mode);
    }
  }
} finally {
  server.stop();
  rmSync(folder, { recursive: true, force: true });
}
