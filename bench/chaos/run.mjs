#!/usr/bin/env node
// `npm run chaos`: see docs/chaos.md. Plain Node up to where the packages load the rest as it is, in TypeScript.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createJiti } from "jiti";

const usage = `npm run chaos -- [redis|amqp|sqlite|URL ...] [options]

  --tasks N        tasks to send (20000)
  --faults N       things that go wrong (40)
  --profile NAME   all: children, workers and broker killed, stopped and cut off (the default)
                   connection: connections lost in every way they can be
  --seed N         chooses the faults and how long they last (1)
  --workers N      workers (2)
  --concurrency N  children of each worker (2)
  --promise S      seconds the recovery may take at p99 (10)

Names start a broker of our own, which is killed as well. A URL is a broker of yours: it is used
on a queue of its own, and only its clients are harmed.`;

const root = fileURLToPath(new URL("../..", import.meta.url));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tasks: { type: "string", default: "20000" },
    faults: { type: "string", default: "40" },
    profile: { type: "string", default: "all" },
    seed: { type: "string", default: "1" },
    workers: { type: "string", default: "2" },
    concurrency: { type: "string", default: "2" },
    promise: { type: "string", default: "10" },
    help: { type: "boolean", short: "h", default: false },
  },
});
if (values.help) {
  console.log(usage);
  process.exit(0);
}
if (!existsSync(join(root, "dist", "cli", "main.js"))) {
  const { status } = spawnSync("npm", ["run", "--silent", "build"], { cwd: root, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}

const jiti = createJiti(import.meta.url, { fsCache: false });
const { runChaos } = await jiti.import("./chaos.ts");
const { findPrograms } = await jiti.import("../../test/helpers/programs.ts");
const programs = await findPrograms((line) => console.log(`· ${line}`));
if (programs.redisServer.path) process.env.TQ_TEST_REDIS_SERVER ??= programs.redisServer.path;
if (programs.rabbitmqServer.path) process.env.TQ_TEST_RABBITMQ_SERVER ??= programs.rabbitmqServer.path;

const kindOf = (name) =>
  /^(redis|amqp|sqlite)$/.test(name)
    ? name
    : name.startsWith("redis")
      ? "redis"
      : name.startsWith("amqp")
        ? "amqp"
        : name.startsWith("sqlite")
          ? "sqlite"
          : undefined;
const interrupted = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    console.log("\nstopping after this fault ...");
    interrupted.abort(new Error(`stopped by ${signal}`));
  });
}
let failed = false;
for (const name of positionals.length > 0 ? positionals : ["sqlite", "redis", "amqp"]) {
  const kind = kindOf(name);
  if (kind === undefined) {
    console.error(`${name} is no broker: say redis, amqp or sqlite, or give a URL.\n\n${usage}`);
    process.exit(2);
  }
  console.log(`\n── ${kind}, seed ${values.seed} ──`);
  const faults = Number(values.faults);
  const verdict = await runChaos({
    kind,
    ...(name === kind ? {} : { url: name }),
    tasks: Number(values.tasks),
    faults,
    profile: values.profile,
    seed: Number(values.seed),
    workers: Number(values.workers),
    concurrency: Number(values.concurrency),
    signal: interrupted.signal,
    onFault: ({ name: what, recovery, log }, count) => {
      console.log(`${String(count).padStart(4)}/${faults}  ${recovery.toFixed(2).padStart(6)} s  ${what}`);
      if (log) console.log(log);
    },
  });
  const good = verdict.lost.length === 0 && verdict.p99 <= Number(values.promise);
  failed ||= !good;
  console.log(`
tasks sent      ${verdict.sent}
run             ${verdict.ran}
run twice       ${verdict.twice}
lost            ${verdict.lost.length}
dead letters    ${verdict.dead}
faults          ${verdict.faults.length}
recovery        p50 ${verdict.p50.toFixed(2)} s, p99 ${verdict.p99.toFixed(2)} s
longest wait    ${verdict.longestWait.toFixed(1)} s
took            ${verdict.seconds.toFixed(0)} s`);
  if (!good) console.log(`\nlost: ${verdict.lost.slice(0, 50).join(" ")}\n${verdict.log}`);
}
process.exit(failed ? 1 : 0);
