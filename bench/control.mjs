// Remote control of a busy worker: node bench/control.mjs [--parts spin,drain,stop,throughput] [--pings 300] [--rounds 8] [--messages 40000]
// spin: pings while every child computes; drain: while no-op tasks go at full speed; stop: during a warm stop;
// throughput: a drain with and without 1,000 pings, in turn, on the same worker.
import { randomUUID } from "node:crypto";
import { parseArgs } from "node:util";
import { Tq } from "../dist/index.js";
import { prepare, release } from "./message.mjs";
import { cpuOf } from "./processes.mjs";
import { median, startRedis, startWorker } from "./setup.mjs";

const { values: options } = parseArgs({
  options: {
    parts: { type: "string", default: "spin,drain,stop,throughput" },
    pings: { type: "string", default: "300" },
    rounds: { type: "string", default: "8" },
    messages: { type: "string", default: "40000" },
    args: { type: "string", default: "-c 2" },
  },
});
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const quantile = (times, share) =>
  [...times].sort((a, b) => a - b)[Math.min(times.length - 1, Math.floor(times.length * share))];
const told = (times) =>
  `p50 ${quantile(times, 0.5).toFixed(1)} ms, p90 ${quantile(times, 0.9).toFixed(1)}, p99 ${quantile(times, 0.99).toFixed(1)}, most ${Math.max(...times).toFixed(1)} (${times.length} pings, ${times.filter((ms) => ms > 50).length} over 50 ms)`;
const node = "busy@bench";
const server = await startRedis();
const app = new Tq("bench", { broker: `${server.url}/0`, backend: `${server.url}/1` });

/** Milliseconds from the question to the answer, with all the client does to ask it. */
async function ping() {
  const begun = performance.now();
  let answered;
  const callback = () => {
    answered ??= performance.now();
  };
  const answers = await app.control.inspect({ destination: node, timeout: 10, callback }).ping();
  if (answers?.[node]?.ok !== "pong") throw new Error("no answer");
  return answered - begun;
}

async function pings(count, everyMs) {
  const times = [];
  for (let n = 0; n < count; n += 1) {
    times.push(await ping());
    await wait(everyMs);
  }
  return times;
}

async function withWorker(use) {
  await server.redis.flushall();
  const worker = await startWorker("tq", server.url, [...options.args.split(" "), "-n", node]);
  try {
    while (!(await app.control.inspect({ destination: node, timeout: 0.2 }).ping())?.[node]);
    await pings(50, 0); // warms both of us up
    await use(worker);
  } finally {
    await worker.stop();
  }
}

const parts = {
  /** Children that compute all the time, in tasks of 200 ms. */
  spin: () =>
    withWorker(async () => {
      const count = Number(options.pings);
      for (let sent = 0; sent < count; sent += 1) await app.sendTask("bench.spin", [200], { ignoreResult: true });
      await wait(500);
      console.log(`spin: ${told(await pings(count, 20))}`);
    }),

  drain: () =>
    withWorker(async () => {
      let done = false;
      const times = [];
      const load = (async () => {
        for (let round = 0; round < 3; round += 1) await drain(Number(options.messages));
        done = true;
      })();
      while (!done) {
        times.push(await ping());
        await wait(20);
      }
      await load;
      console.log(`drain: ${told(times)}`);
    }),

  stop: () =>
    withWorker(async (worker) => {
      for (let sent = 0; sent < 2; sent += 1) await app.sendTask("bench.spin", [5_000], { ignoreResult: true });
      await wait(500);
      const ended = worker.stop();
      const until = performance.now() + 3_500;
      await wait(100);
      const times = [];
      while (performance.now() < until) {
        times.push(await ping());
        await wait(10);
      }
      console.log(`stop: ${told(times)}`);
      await ended;
    }),

  throughput: () =>
    withWorker(async (worker) => {
      const count = Number(options.messages);
      await drain(count); // warms up
      const ratios = [];
      const costs = [];
      for (let round = 0; round < Number(options.rounds); round += 1) {
        const runs = {};
        // Which comes first changes: what drifts with time favours neither.
        for (const kind of round % 2 === 0 ? ["quiet", "asked"] : ["asked", "quiet"]) {
          const cpu = cpuOf(worker.pid);
          const asking = kind === "asked" ? ask(1_000) : undefined;
          await drain(count, () => asking?.go());
          runs[kind] = { rate: drained, cpu: cpuOf(worker.pid) - cpu };
          if (asking !== undefined) runs.asked.within = await asking.end();
        }
        ratios.push(runs.asked.rate / runs.quiet.rate);
        costs.push(runs.asked.cpu - runs.quiet.cpu);
        console.log(
          `round ${round + 1}: ${runs.quiet.rate.toFixed(0)}/s without, ${runs.asked.rate.toFixed(0)}/s with 1,000 pings (${runs.asked.within} answered while it drained): ${((ratios.at(-1) - 1) * 100).toFixed(1)}%, CPU ${costs.at(-1).toFixed(2)} s more`,
        );
      }
      console.log(
        `throughput: with 1,000 pings ${((median(ratios) - 1) * 100).toFixed(1)}% (median of ${ratios.length} pairs; worker's CPU ${median(costs).toFixed(2)} s more)`,
      );
    }),
};

/** Tasks a second of the last drain. */
let drained = 0;

/** Fills the queue and waits until every result is there. */
async function drain(count, onBegin = () => undefined) {
  const { redis } = server;
  const results = redis.duplicate({ db: 1 });
  const listener = redis.duplicate();
  await results.flushdb();
  const last = await prepare(redis, count);
  const done = new Promise((resolve) => listener.on("message", resolve));
  await listener.subscribe(`celery-task-meta-${last}`);
  const begun = performance.now();
  await release(redis);
  onBegin();
  await done;
  while ((await results.dbsize()) < count + 1) await wait(1);
  drained = count / ((performance.now() - begun) / 1000);
  listener.disconnect();
  results.disconnect();
}

/**
 * Asks so many times within some three seconds, at a price that is not the worker's: commands written
 * beforehand, answers into one list that nobody reads.
 */
function ask(count) {
  const { redis } = server;
  const id = randomUUID();
  const queue = `${id}.reply.celery.pidbox`;
  const text = (n) =>
    JSON.stringify({
      body: Buffer.from(
        JSON.stringify({
          method: "ping",
          arguments: {},
          destination: [node],
          pattern: null,
          matcher: null,
          ticket: String(n),
          reply_to: { exchange: "reply.celery.pidbox", routing_key: id },
        }),
      ).toString("base64"),
      "content-encoding": "utf-8",
      "content-type": "application/json",
      headers: { clock: 1, expires: 0 },
      properties: {
        delivery_mode: 2,
        delivery_info: { exchange: "celery.pidbox", routing_key: "" },
        priority: 0,
        body_encoding: "base64",
        delivery_tag: randomUUID(),
      },
    });
  const texts = Array.from({ length: count }, (_, n) => text(n));
  let timer;
  return {
    async go() {
      await redis.sadd("_kombu.binding.reply.celery.pidbox", `${id}\x06\x16\x06\x16${queue}`);
      timer = setInterval(() => {
        for (const one of texts.splice(0, 4)) redis.publish("/0.celery.pidbox", one);
        if (texts.length === 0) clearInterval(timer);
      }, 10);
    },
    /** How many were answered by the time it is called. */
    async end() {
      const within = await redis.llen(queue);
      clearInterval(timer);
      for (const one of texts.splice(0)) await redis.publish("/0.celery.pidbox", one);
      while ((await redis.llen(queue)) < count) await wait(5);
      await redis.del(queue);
      await redis.del("_kombu.binding.reply.celery.pidbox");
      return within;
    },
  };
}

try {
  for (const part of options.parts.split(",")) await parts[part]();
} finally {
  await app.close();
  server.stop();
}
