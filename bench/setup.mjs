// A private Redis, and workers of tq and Celery, for the benchmarks.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Redis } from "ioredis";

export const root = fileURLToPath(new URL("..", import.meta.url));
const apps = join(root, "bench", "apps");

export const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** A Redis without persistence, as in the figures to beat. */
export async function startRedis() {
  const folder = mkdtempSync(join(tmpdir(), "tq-bench-"));
  const port = await freePort();
  const child = spawn("redis-server", ["--port", String(port), "--save", "", "--appendonly", "no", "--dir", folder], {
    stdio: "ignore",
  });
  const redis = new Redis(port, "127.0.0.1", { retryStrategy: (times) => Math.min(50 * times, 500) });
  redis.on("error", () => undefined);
  await redis.ping();
  return {
    url: `redis://127.0.0.1:${port}`,
    redis,
    pid: child.pid,
    stop() {
      redis.disconnect();
      child.kill("SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** What a script for the Python of that Celery prints, on the same broker and store. */
export async function runPython(script, url) {
  const child = spawn(join(process.env.TQ_TEST_CELERY, "python"), ["-c", script], {
    cwd: apps,
    env: { ...process.env, BENCH_BROKER: `${url}/0`, BENCH_BACKEND: `${url}/1` },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.on("data", (chunk) => (text += chunk));
  await once(child, "close");
  return text;
}

/** Starts a worker; it may not be ready yet. Throws when a Celery is asked for and none was named. */
export async function startWorker(kind, url, args = [], env = {}) {
  if (kind === "celery" && !process.env.TQ_TEST_CELERY) {
    throw new Error(
      "TQ_TEST_CELERY must name the bin folder of a virtual environment with Celery 5.6 (see bench/README.md)",
    );
  }
  const [command, argv] =
    kind === "celery"
      ? [join(process.env.TQ_TEST_CELERY, "celery"), ["-A", "bench_celery", "worker", "-l", "WARNING", ...args]]
      : [
          process.execPath,
          [join(root, "bin", "tq.js"), "-A", join(apps, "noop.js"), "worker", "-l", "WARNING", ...args],
        ];
  const child = spawn(command, argv, {
    cwd: apps,
    env: { ...process.env, BENCH_BROKER: `${url}/0`, BENCH_BACKEND: `${url}/1`, ...env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let log = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (text) => (log = `${log}${text}`.slice(-20_000)));
  const exited = new Promise((resolve) => child.once("exit", resolve));
  return {
    pid: child.pid,
    get log() {
      return log;
    },
    async stop() {
      child.kill("SIGTERM");
      const timer = setTimeout(() => process.kill(-child.pid, "SIGKILL"), 20_000);
      await exited;
      clearTimeout(timer);
    },
  };
}
