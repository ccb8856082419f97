import { existsSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { createWire } from "../apps/wire-tasks.ts";
import { childrenOf } from "../helpers/child.ts";
import { startRabbit } from "../helpers/rabbit-server.ts";
import { describeWith, freshRedis, freshVhost } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker, type WorkerHandle } from "../helpers/worker.ts";

/**
 * Nothing is lost: tasks with acksLate are queued without pause while something is killed with
 * SIGKILL at random moments. Each task appends its number to a file; in the end every number whose
 * publishing was confirmed must be there. Running twice is allowed, not running is not.
 */

/** A broker under test, and what it takes to kill it where it is a process. */
interface BrokerUnderTest extends AsyncDisposable {
  readonly url: string;
  kill?(): Promise<void>;
  restart?(): Promise<void>;
}

interface Ordeal {
  readonly broker: BrokerUnderTest;
  /** Kills something; `worker` is the one that runs now, and what it returns is the one that runs next. */
  readonly strike: (worker: WorkerHandle, start: () => Promise<WorkerHandle>) => Promise<WorkerHandle>;
  readonly strikes: number;
}

/** Seconds between two strikes, at random: long enough for work to be under way, never the same phase. */
const pause = (): number => 0.15 + Math.random() * 0.6;

async function endure({ broker, strike, strikes }: Ordeal): Promise<void> {
  await using folder = await temporaryFolder();
  const path = folder.file("ran");
  const environment = { TQ_BROKER_URL: broker.url, TQ_RESULT_BACKEND: "disabled://" };
  const start = async (): Promise<WorkerHandle> => {
    const worker = startWorker({ env: environment, args: ["-c", "2"] });
    await worker.ready();
    return worker;
  };
  const { app, handles } = createWire({ ...environment, TQ_SETTINGS: JSON.stringify({ task_ignore_result: true }) });
  const record = handles.get("wire.record_late");
  if (record === undefined) throw new Error("wire.record_late is not registered");

  let worker = await start();
  const logs: (() => string)[] = [() => worker.output];
  const confirmed = new Set<string>();
  let next = 0;
  const producing = new AbortController();
  const produce = async (): Promise<void> => {
    while (!producing.signal.aborted) {
      const ids = Array.from({ length: 20 }, () => String(next++));
      const publishing = ids.map(async (id) => {
        // What the broker did not confirm may be lost; it counts only from its confirmation on.
        await record.applyAsync([path, id, Math.random() * 0.004]);
        confirmed.add(id);
      });
      await Promise.allSettled(publishing);
      await delay(20);
    }
  };
  const producer = produce();
  const ran = (): Set<string> => new Set(existsSync(path) ? readFileSync(path, "utf8").split("\n") : []);
  const lost = (): string[] => {
    const done = ran();
    return [...confirmed].filter((id) => !done.has(id));
  };
  try {
    await until(() => ran().size > 20, { timeout: 20, message: "work to be under way" });
    for (let count = 0; count < strikes; count++) {
      await delay(pause() * 1000);
      const current = worker;
      worker = await strike(current, start);
      if (worker !== current) logs.push(() => current.output);
    }
    await delay(300);
    producing.abort();
    await producer;
    await until(() => lost().length === 0, { timeout: 60, interval: 0.1 }).catch(() => undefined);
    const missing = lost();
    const log = missing.length > 0 ? logs.map((output) => output().slice(-4000)).join("\n") : "";
    expect(missing, `of ${confirmed.size} confirmed tasks\n${log}`).toEqual([]);
    expect(confirmed.size).toBeGreaterThan(100);
  } finally {
    producing.abort();
    await producer;
    await app.close();
    await worker.term();
  }
}

/** A child in the middle of its work; the worker must notice and go on. */
const killChild: Ordeal["strike"] = async (worker) => {
  const children = childrenOf(worker.pid);
  const victim = children[Math.floor(Math.random() * children.length)];
  if (victim !== undefined) process.kill(victim, "SIGKILL");
  return worker;
};

/** The parent and all children at once; another worker takes over what they held. */
const killGroup: Ordeal["strike"] = async (worker, start) => {
  await worker.kill9Group();
  return start();
};

/** The broker itself; it comes back with what it wrote down, and the worker and the producer find it. */
const killBroker =
  (broker: BrokerUnderTest): Ordeal["strike"] =>
  async (worker) => {
    await broker.kill?.();
    await delay(Math.random() * 200);
    await broker.restart?.();
    return worker;
  };

interface Kind {
  readonly name: string;
  open(): Promise<BrokerUnderTest>;
  /** The same, as a process of its own with everything written to disk. */
  openDurable?(): Promise<BrokerUnderTest>;
}

function survives(kind: Kind): void {
  const timeout = 150_000;

  test(
    `${kind.name}: a child killed at random moments loses no task`,
    async () => {
      await using broker = await kind.open();
      await endure({ broker, strike: killChild, strikes: 12 });
    },
    timeout,
  );

  test(
    `${kind.name}: the whole worker killed at random moments loses no task`,
    async () => {
      await using broker = await kind.open();
      await endure({ broker, strike: killGroup, strikes: 6 });
    },
    timeout,
  );

  const { openDurable } = kind;
  if (openDurable === undefined) return;
  test(
    `${kind.name}: the broker killed at random moments loses no task`,
    async () => {
      await using broker = await openDurable();
      await endure({ broker, strike: killBroker(broker), strikes: 4 });
    },
    timeout,
  );
}

describe("kill -9 over the embedded store", () => {
  test("children killed again and again before they are ready are replaced until one lives", async () => {
    await using folder = await temporaryFolder();
    const environment = { TQ_BROKER_URL: `sqlite://${folder.file("tq.db")}`, TQ_RESULT_BACKEND: "disabled://" };
    await using worker = startWorker({ env: environment, args: ["-c", "1"] });
    await worker.ready();
    const killed = new Set<number>();
    for (let count = 0; count < 6; count++) {
      const fresh = (): number | undefined => childrenOf(worker.pid).find((pid) => !killed.has(pid));
      const pid = await until(fresh, { message: `child ${count} after ${[...killed]}` });
      killed.add(pid);
      process.kill(pid, "SIGKILL");
    }
    const { app, handles } = createWire(environment);
    try {
      await handles.get("wire.record_late")?.delay(folder.file("ran"), "at last");
      await until(() => existsSync(folder.file("ran")), { timeout: 20, message: `the task\n${worker.output}` });
      expect(worker.running).toBe(true);
    } finally {
      await app.close();
    }
    expect(await worker.term()).toEqual({ code: 0, signal: null });
  });

  survives({
    name: "sqlite",
    async open() {
      const folder = await temporaryFolder();
      return {
        url: `sqlite://${folder.file("tq.db")}`,
        [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
      };
    },
  });
});

describeWith("redis-server", "kill -9 over Redis", () => {
  const withUrl = async (server: ReturnType<typeof freshRedis>): Promise<BrokerUnderTest> => {
    const redis = await server;
    return {
      url: `${redis.url}/0`,
      kill: () => redis.kill(),
      restart: () => redis.restart(),
      [Symbol.asyncDispose]: () => redis[Symbol.asyncDispose](),
    };
  };
  survives({
    name: "redis",
    open: () => withUrl(freshRedis()),
    openDurable: () => withUrl(freshRedis({ appendfsync: "always" })),
  });

  test("redis: everysec is enough when only Redis is killed, not the machine", async () => {
    await using broker = await withUrl(freshRedis({ appendfsync: "everysec" }));
    await endure({ broker, strike: killBroker(broker), strikes: 3 });
  }, 150_000);
});

describeWith(["vhost", "rabbitmq-server"], "kill -9 over RabbitMQ", () => {
  survives({
    name: "amqp",
    open: freshVhost,
    openDurable: () => startRabbit(),
  });
});
