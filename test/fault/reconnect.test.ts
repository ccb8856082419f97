import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { connect } from "amqplib";
import { Redis } from "ioredis";
import { afterAll, expect, type TestContext, test } from "vitest";
import { Tq, type TqOptions } from "../../src/app/app.ts";
import { OperationalError } from "../../src/errors.ts";
import { root } from "../helpers/build.ts";
import { startRabbit } from "../helpers/rabbit-server.ts";
import { describeWith, freshRedis, freshVhost, type ServiceName, type VirtualHost } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker, type WorkerHandle } from "../helpers/worker.ts";
import { type Proxy as Link, startProxy } from "./proxy.ts";

/**
 * Connections that are lost in every way they can be: a worker process must be consuming again
 * within five seconds of the moment from which it could, and lose nothing on the way.
 */

/** Seconds from the broker's return within which a task sent to it must have run. */
const promised = 5;
/** Stands in every URL that can have one, and must never be printed. */
const password = "pa55-w0rd";

/** Where a worker finds its messages, and where its results go. */
interface Site extends AsyncDisposable {
  readonly broker: string;
  readonly backend: string;
  readonly queue: string;
}

/** One whose broker is a process of its own that writes everything down. */
interface KillableSite extends Site {
  kill(): Promise<void>;
  restart(): Promise<void>;
}

interface Kind {
  readonly name: string;
  readonly needs: readonly ServiceName[];
  readonly open: () => Promise<Site>;
  readonly openKillable: () => Promise<KillableSite>;
}

const queueName = (): string => `q-${randomBytes(4).toString("hex")}`;

const redisKind: Kind = {
  name: "Redis",
  needs: ["redis-server"],
  open: () => redisKind.openKillable(),
  /** Results are in the same Redis: they go away with it. */
  async openKillable() {
    const server = await freshRedis({ password, appendfsync: "always" });
    return {
      broker: `${server.url}/0`,
      backend: `${server.url}/1`,
      queue: queueName(),
      kill: () => server.kill(),
      restart: () => server.restart(),
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
};

/** A virtual host takes RabbitMQ a second: the tests of this file share one, each on a queue of its own. */
let virtualHost: Promise<VirtualHost> | undefined;
afterAll(async () => (await virtualHost)?.[Symbol.asyncDispose]());

const rabbitKind: Kind = {
  name: "RabbitMQ",
  needs: ["amqp", "vhost", "rabbitmq-server", "redis-server"],
  async open() {
    virtualHost ??= freshVhost();
    const results = await freshRedis({ password });
    return {
      broker: (await virtualHost).url,
      backend: `${results.url}/0`,
      queue: queueName(),
      [Symbol.asyncDispose]: () => results[Symbol.asyncDispose](),
    };
  },
  async openKillable() {
    const [server, results] = await Promise.all([startRabbit(), freshRedis({ password })]);
    return {
      broker: server.url,
      backend: `${results.url}/0`,
      queue: queueName(),
      kill: () => server.kill(),
      restart: () => server.restart(),
      async [Symbol.asyncDispose]() {
        await server[Symbol.asyncDispose]();
        await results[Symbol.asyncDispose]();
      },
    };
  },
};

interface SceneOptions {
  /** What the worker takes for its broker; the site's own by default. */
  readonly workerBroker?: string;
  readonly settings?: TqOptions;
  readonly args?: readonly string[];
  readonly ready?: boolean;
}

/** A worker process on a site, a client beside it, and the file in which its tasks leave their lines. */
class Scene implements AsyncDisposable {
  readonly worker: WorkerHandle;
  readonly app: Tq;
  readonly file: string;
  readonly #folder: AsyncDisposable;

  private constructor(worker: WorkerHandle, app: Tq, file: string, folder: AsyncDisposable) {
    this.worker = worker;
    this.app = app;
    this.file = file;
    this.#folder = folder;
  }

  static async open(site: Site, options: SceneOptions = {}): Promise<Scene> {
    const folder = await temporaryFolder();
    const worker = startWorker({
      app: join(root, "test", "apps", "outage.ts"),
      args: options.args ?? ["-c", "1"],
      env: {
        TQ_BROKER_URL: options.workerBroker ?? site.broker,
        TQ_RESULT_BACKEND: site.backend,
        OUTAGE_QUEUE: site.queue,
        OUTAGE_SETTINGS: JSON.stringify({ workerProcAliveTimeout: 20, ...options.settings }),
      },
    });
    const scene = new Scene(worker, clientOf(site), folder.file("lines"), folder);
    try {
      if (options.ready !== false) await worker.ready();
    } catch (error) {
      await scene[Symbol.asyncDispose]();
      throw error;
    }
    return scene;
  }

  get lines(): string[] {
    try {
      return readFileSync(this.file, "utf8").split("\n").filter(Boolean);
    } catch {
      return [];
    }
  }

  count(line: string): number {
    return this.lines.filter((each) => each === line).length;
  }

  /** Sends a task now; resolves with the seconds until it has run. */
  async recovery(name: string, timeout = promised): Promise<number> {
    const started = performance.now();
    await this.app.sendTask("outage.early", [this.file, name], { retryPolicy: { maxRetries: 20 } });
    await this.until(`${name} to run`, () => this.count(`end ${name}`) > 0, timeout);
    return (performance.now() - started) / 1000;
  }

  /** Waits for a fact, and shows the worker's log when it does not come. */
  async until(message: string, fact: () => boolean, timeout: number): Promise<void> {
    await until(fact, { timeout, message }).catch((error: Error) => {
      throw new Error(`${error.message}; the worker said:\n${this.worker.lines.slice(-30).join("\n")}`);
    });
  }

  /** Ends the worker, which must exit with 0 and never have printed a password. */
  async end(): Promise<void> {
    expect(await this.worker.term(), this.worker.lines.slice(-15).join("\n")).toEqual({ code: 0, signal: null });
    expectNoPassword(this.worker);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.app.close();
    await this.worker[Symbol.asyncDispose]();
    await this.#folder[Symbol.asyncDispose]();
  }
}

function clientOf({ broker, backend, queue }: Pick<Site, "broker" | "backend" | "queue">): Tq {
  return new Tq("client", { broker, backend, taskDefaultQueue: queue });
}

function expectNoPassword({ output }: { readonly output: string }): void {
  expect(output).not.toContain(password);
  expect(output).not.toContain("guest:guest");
}

/** Shown by the verbose reporter. */
const note = (context: TestContext, what: string, seconds: number): void =>
  void context.annotate(`${what}: ${seconds.toFixed(2)} s`);

function goesAway(kind: Kind): void {
  test.concurrent("killed and back after 3 s: the worker stays, and every task runs", async (context) => {
    await using site = await kind.openKillable();
    await using scene = await Scene.open(site, { args: ["-c", "4"] });
    const { app, worker, file } = scene;
    const running = [
      await app.sendTask("outage.early", [file, "running-early", 6]),
      await app.sendTask("outage.late", [file, "running-late", 6]),
      await app.sendTask("outage.early", [file, "ends-meanwhile", 2]),
    ];
    await until(() => scene.lines.length === 3);
    const queued = [];
    for (let index = 0; index < 30; index += 1) {
      queued.push(await app.sendTask("outage.late", [file, `queued-${index}`, 0.1]));
    }
    const told = running.map((result) => result.get({ timeout: 40 }));
    // RabbitMQ writes acknowledgements down when it has a moment.
    await delay(500);
    await site.kill();
    await worker.printed("consumer: Connection to broker lost. Trying to re-establish the connection...");
    await worker.printed(/consumer: Cannot connect to \S+: .*\.$/);
    await worker.printed(/^Trying again in \d\.\d\d seconds\.\.\. \(1\/for ever\)$/);
    await delay(3_000);
    await site.restart();
    note(context, "killed and restarted", await scene.recovery("after"));
    expect(await Promise.all(told)).toEqual(["running-early", "running-late", "ends-meanwhile"]);
    for (const result of queued) await result.get({ timeout: 15 });
    expect(scene.count("begin running-early")).toBe(1);
    // A message Redis gave away stays with its lease; RabbitMQ takes it back with the connection.
    if (kind === redisKind) expect(scene.count("begin running-late")).toBe(1);
    for (let index = 0; index < 30; index += 1) expect(scene.count(`end queued-${index}`)).toBeGreaterThan(0);
    expect(worker.lines.filter((line) => line.includes("Connection to broker lost"))).toHaveLength(1);
    await scene.end();
  }, 60_000);

  test.concurrent("cut, stalled and swallowed by the network: consuming again soon after it heals", async (context) => {
    await using site = await kind.open();
    await using proxy = await startProxy(site.broker);
    await using scene = await Scene.open(site, { workerBroker: proxy.url });
    await scene.recovery("before");
    const ways: readonly [string, number, () => void][] = [
      ["cut", 2, () => proxy.cut()],
      ["stalled", 6, () => proxy.stall()],
      ["swallowed", 3, () => proxy.blackHole()],
    ];
    for (const [way, seconds, begin] of ways) {
      begin();
      await delay(500);
      await scene.app.sendTask("outage.early", [scene.file, `while ${way}`]);
      await delay(seconds * 1000 - 500);
      proxy.restore();
      const started = performance.now();
      note(context, way, await scene.recovery(`after ${way}`));
      // What the broker handed out over the connection that is gone is not forgotten.
      await scene.until(`while ${way}`, () => scene.count(`end while ${way}`) > 0, promised);
      note(context, `${way}, what was sent meanwhile`, (performance.now() - started) / 1000);
    }
    await scene.end();
  }, 60_000);

  test.concurrent("connections that died without a word are noticed, and new ones made", async (context) => {
    await using site = await kind.open();
    await using proxy = await startProxy(site.broker);
    await using scene = await Scene.open(site, { workerBroker: proxy.url, settings: { brokerHeartbeat: 3 } });
    await scene.recovery("before");
    proxy.forget();
    const started = performance.now();
    const sent: string[] = [];
    // RabbitMQ goes on giving messages to the dead half, as many as it may have in hand, until its
    // heartbeats tell it: those sent first come later than those sent last.
    while (!sent.some((name) => scene.count(`end ${name}`) > 0)) {
      expect(performance.now() - started, scene.worker.output).toBeLessThan(promised * 1000);
      sent.push(`message-${sent.length}`);
      await scene.app.sendTask("outage.late", [scene.file, sent.at(-1)]);
      await delay(100);
    }
    note(context, "forgotten", (performance.now() - started) / 1000);
    await scene.until("all of them to run", () => sent.every((name) => scene.count(`end ${name}`) > 0), 15);
    note(context, "forgotten, the last", (performance.now() - started) / 1000);
    await scene.end();
  }, 60_000);
}

function bringsNothingFromRedis(): void {
  const ordeals: readonly [string, (redis: Redis) => Promise<unknown>][] = [
    ["the listening connection is killed", (redis) => redis.call("CLIENT", "KILL", "TYPE", "PUBSUB")],
    ["every other connection is killed", (redis) => redis.call("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")],
    [
      "the taking connection is killed",
      async (redis) => {
        // The one whose changes are told to another.
        const taking = /^id=(\d+) .* redir=\d/m.exec(String(await redis.call("CLIENT", "LIST")))?.[1];
        expect(taking).toBeDefined();
        await redis.call("CLIENT", "KILL", "ID", taking ?? "");
      },
    ],
    ["the server is paused for 2 s", (redis) => redis.call("CLIENT", "PAUSE", "2000")],
    ["everything is flushed", (redis) => redis.flushall()],
    ["the scripts are flushed", (redis) => redis.call("SCRIPT", "FLUSH")],
  ];
  test.concurrent("connections that live and bring nothing: messages come again", async (context) => {
    await using site = await redisKind.open();
    await using scene = await Scene.open(site);
    await scene.recovery("before");
    const control = new Redis(site.broker);
    try {
      for (const [what, strike] of ordeals) {
        await strike(control);
        note(context, what, await scene.recovery(`after ${what}`));
      }
    } finally {
      control.disconnect();
    }
    await scene.end();
  }, 60_000);
}

function bringsNothingFromRabbit(): void {
  test.concurrent("the queue was deleted and declared again: messages come again", async (context) => {
    await using site = await rabbitKind.open();
    await using scene = await Scene.open(site);
    await scene.recovery("before");
    const control = await connect(site.broker);
    try {
      const channel = await control.createChannel();
      await channel.deleteQueue(site.queue);
      await channel.assertQueue(site.queue, { durable: true });
      await channel.bindQueue(site.queue, site.queue, site.queue);
      note(context, "deleted and declared", await scene.recovery("after"));
      await channel.deleteQueue(site.queue);
      // Publishing is refused, loudly, until the worker has declared the queue again.
      const sent = (): Promise<number> => scene.recovery("after that");
      note(
        context,
        "deleted",
        await sent().catch((error: unknown) => {
          expect(String(error)).toMatch(/no queue "q-\w+" exists/);
          return delay(200).then(sent);
        }),
      );
    } finally {
      await control.close();
    }
    await scene.end();
  }, 60_000);
}

function leavesTasksBehind(): void {
  test.concurrent("tasks that outlive the connection: less is fetched beside them, and late ones end where told to", async () => {
    await using site = await rabbitKind.open();
    await using proxy = await startProxy(site.broker);
    const settings = { workerCancelLongRunningTasksOnConnectionLoss: true };
    await using scene = await Scene.open(site, { workerBroker: proxy.url, settings, args: ["-c", "2"] });
    const { app, worker, file } = scene;
    const early = await app.sendTask("outage.early", [file, "early", 4]);
    await until(() => scene.count("begin early") === 1);
    // Its acknowledgement reaches the broker: otherwise it would be run again.
    await delay(1_000);
    proxy.reset();
    await worker.printed("Temporarily reducing the prefetch count to 4 to avoid over-fetching since 1 tasks are");
    expect(await early.get({ timeout: 20 })).toBe("early");
    await worker.printed("Prefetch count has been restored to the maximum of 8");

    const late = await app.sendTask("outage.late", [file, "late", 60]);
    await until(() => scene.count("begin late") === 1);
    await delay(1_000);
    proxy.reset();
    await worker.printed(/Task outage.late\[.*\] cannot be acknowledged after a connection loss/);
    await worker.printed("Terminating it instead.");
    // As Celery leaves it, and run again by whoever gets the message.
    const meta = await until(async () => {
      const seen = await late.meta();
      return seen?.status === "RETRY" ? seen : undefined;
    });
    expect(JSON.stringify(meta.result)).toContain("cancelled by Celery");
    await until(() => scene.count("begin late") === 2);
    worker.signal("SIGQUIT");
    expect(await worker.exited).toEqual({ code: 0, signal: null });
  }, 60_000);
}

function isRefused(): void {
  test.concurrent("what the broker refuses at the start ends a worker, unless it shall wait that out too", async () => {
    await using site = await rabbitKind.open();
    const control = await connect(site.broker);
    try {
      const channel = await control.createChannel();
      await channel.assertQueue(site.queue, { durable: true, arguments: { "x-max-length": 1_000 } });
      await using strict = await Scene.open(site, { ready: false });
      await using patient = await Scene.open(site, { settings: { brokerChannelErrorRetry: true }, ready: false });
      expect((await strict.worker.exited).code).toBeGreaterThan(0);
      await patient.worker.printed(/^Trying again in/);
      await channel.deleteQueue(site.queue);
      await patient.worker.ready();
      await patient.end();
    } finally {
      await control.close();
    }
  }, 60_000);
}

function isNotThere(kind: Kind): void {
  test.concurrent("a worker waits for it, and becomes ready when it comes", async (context) => {
    await using site = await kind.open();
    await using proxy = await startProxy(site.broker);
    proxy.cut();
    await using scene = await Scene.open(site, { workerBroker: proxy.url, ready: false });
    await scene.worker.printed(/consumer: Cannot connect to/);
    await delay(1_000);
    proxy.restore();
    note(context, "started before its broker", await scene.recovery("first"));
    await scene.worker.ready();
    await scene.end();
  }, 60_000);

  test.concurrent("a worker that shall not wait for it ends with one clear message", async () => {
    await using site = await kind.open();
    await using proxy = await startProxy(site.broker);
    proxy.cut();
    const settings = { brokerConnectionRetryOnStartup: false };
    await using scene = await Scene.open(site, { workerBroker: proxy.url, settings, ready: false });
    expect((await scene.worker.exited).code).toBeGreaterThan(0);
    const { output } = scene.worker;
    expect(output.match(/cannot connect to/gi)).toHaveLength(1);
    expect(output).not.toMatch(/^\s+at /m);
    expectNoPassword(scene.worker);
  }, 60_000);

  test.concurrent("a worker tries as often as it is told, and then ends", async () => {
    await using site = await kind.open();
    await using proxy = await startProxy(site.broker);
    const settings = { brokerConnectionMaxRetries: 2 };
    await using scene = await Scene.open(site, { workerBroker: proxy.url, settings });
    proxy.cut();
    expect((await scene.worker.exited).code).toBe(1);
    const { output } = scene.worker;
    expect(output.match(/Trying again in/g)).toHaveLength(2);
    expect(output).toMatch(/no connection to \S+ after 2 retries \(brokerConnectionMaxRetries/);
    expectNoPassword(scene.worker);
  }, 60_000);

  const waits: readonly [string, boolean, (proxy: Link) => void][] = [
    ["starts", false, (proxy) => proxy.cut()],
    ["starts and nothing answers", false, (proxy) => proxy.blackHole()],
    ["reconnects", true, (proxy) => proxy.cut()],
    ["reconnects and nothing answers", true, (proxy) => proxy.blackHole()],
  ];
  for (const [when, ready, begin] of waits) {
    test.concurrent(`TERM while it ${when} ends a worker with 0, promptly`, async (context) => {
      await using site = await kind.open();
      await using proxy = await startProxy(site.broker);
      if (!ready) begin(proxy);
      await using scene = await Scene.open(site, { workerBroker: proxy.url, ready });
      if (ready) begin(proxy);
      const { worker } = scene;
      if (ready) await worker.printed("Connection to broker lost");
      else await until(() => proxy.connections > 0 || worker.output.includes("Cannot connect"));
      await delay(300);
      const started = performance.now();
      await scene.end();
      const seconds = (performance.now() - started) / 1000;
      note(context, when, seconds);
      expect(seconds).toBeLessThan(promised);
    }, 60_000);
  }
}

function isAwayForPublishers(kind: Kind): void {
  test.concurrent("publishing follows the policy, and the same app works when it is back", async (context) => {
    await using site = await kind.open();
    await using proxy = await startProxy(site.broker);
    await using app = clientOf({ ...site, broker: proxy.url });
    const send = (name: string, options = {}) => app.sendTask("outage.early", ["/dev/null", name], options);
    await send("before");
    proxy.cut();
    const took = async (work: Promise<unknown>): Promise<number> => {
      const started = performance.now();
      const error = await work.then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error).toBeInstanceOf(OperationalError);
      expect(String(error)).toMatch(/could not be published after \d (try|tries): .*retryPolicy/);
      expectNoPassword({ output: String(error) });
      return (performance.now() - started) / 1000;
    };
    const byDefault = await took(send("lost"));
    note(context, "default policy", byDefault);
    expect(byDefault).toBeGreaterThan(0.3);
    expect(byDefault).toBeLessThan(3);
    const atOnce = await took(send("lost at once", { retry: false }));
    note(context, "no retry", atOnce);
    expect(atOnce).toBeLessThan(0.3);
    const waiting = send("patient", { retryPolicy: { maxRetries: null } });
    await delay(1_500);
    proxy.restore();
    await waiting;
    await send("after");
    const broker = await app.broker();
    await until(async () => (await broker.size(site.queue)) === 3, { message: "before, patient and after" });
  }, 60_000);

  test.concurrent("publishing is the same for a task that calls another", async () => {
    await using site = await kind.open();
    await using proxy = await startProxy(site.broker);
    await using scene = await Scene.open(site, { workerBroker: proxy.url, args: ["-c", "2"] });
    const call = (name: string, policy: object | null) =>
      scene.app.sendTask("outage.forward", [scene.file, name, 1, policy]);
    // So that each child has a connection to lose.
    const before = await Promise.all([call("a", {}), call("b", {})]);
    for (const result of before) expect(await result.get({ timeout: 15 })).toBe("sent");
    const [patient, hasty] = [await call("c", { maxRetries: null }), await call("d", null)];
    await until(() => scene.count("begin forward d") === 1 && scene.count("begin forward c") === 1);
    // Their own acknowledgements reach the broker: otherwise it would have them run again.
    await delay(300);
    proxy.cut();
    expect(await hasty.get({ timeout: 15 })).toMatch(/^OperationalError: .*could not be published after 1 try/);
    await delay(500);
    proxy.restore();
    expect(await patient.get({ timeout: 15 })).toBe("sent");
    await until(() => scene.count("end c") === 1);
    expect(scene.count("end d")).toBe(0);
    await scene.end();
  }, 60_000);
}

describeWith(redisKind.needs, "Redis", () => {
  goesAway(redisKind);
  bringsNothingFromRedis();
  isNotThere(redisKind);
  isAwayForPublishers(redisKind);
});

describeWith(rabbitKind.needs, "RabbitMQ", () => {
  goesAway(rabbitKind);
  bringsNothingFromRabbit();
  leavesTasksBehind();
  isRefused();
  isNotThere(rabbitKind);
  isAwayForPublishers(rabbitKind);
});
