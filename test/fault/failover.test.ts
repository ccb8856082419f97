import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, type TestContext, test } from "vitest";
import { Tq, type TqOptions } from "../../src/app/app.ts";
import { root } from "../helpers/build.ts";
import { describeWith, freshRedis, freshVhost, type ServiceName, type VirtualHost } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";
import { type Proxy as Link, startProxy } from "./proxy.ts";

/**
 * Two brokers under one name: whoever publishes and whoever consumes ends up at the one that
 * serves, in whichever order the URLs are tried, and moves when it ends.
 */

const password = "pa55-w0rd";

/** Two places of one kind, each behind a link that fails when told to. */
interface Pair extends AsyncDisposable {
  readonly links: readonly [Link, Link];
  readonly backend: string;
}

let virtualHosts: Promise<VirtualHost[]> | undefined;
afterAll(async () => {
  for (const host of (await virtualHosts) ?? []) await host[Symbol.asyncDispose]();
});

const kinds: readonly {
  name: string;
  needs: readonly ServiceName[];
  urls(): Promise<{ urls: string[]; end: AsyncDisposable[] }>;
}[] = [
  {
    name: "Redis",
    needs: ["redis-server"],
    async urls() {
      const servers = await Promise.all([freshRedis({ password }), freshRedis({ password })]);
      return { urls: servers.map(({ url }) => `${url}/0`), end: servers };
    },
  },
  {
    name: "RabbitMQ",
    needs: ["amqp", "vhost", "redis-server"],
    async urls() {
      virtualHosts ??= Promise.all([freshVhost(), freshVhost()]);
      return { urls: (await virtualHosts).map(({ url }) => url), end: [] };
    },
  },
];

for (const kind of kinds) {
  describeWith(kind.needs, `failover over ${kind.name}`, () => {
    async function openPair(): Promise<Pair> {
      const { urls, end } = await kind.urls();
      const [first, second] = urls as [string, string];
      const links = [await startProxy(first), await startProxy(second)] as const;
      const results = await freshRedis({ password });
      return {
        links,
        backend: `${results.url}/0`,
        async [Symbol.asyncDispose]() {
          for (const part of [...links, results, ...end]) await part[Symbol.asyncDispose]();
        },
      };
    }

    async function scene({ links, backend }: Pair, settings: TqOptions) {
      const folder = await temporaryFolder();
      const file = folder.file("lines");
      const broker = links.map(({ url }) => url);
      const queue = `q-${randomBytes(4).toString("hex")}`;
      const worker = startWorker({
        app: join(root, "test", "apps", "outage.ts"),
        args: ["-c", "1"],
        env: {
          TQ_BROKER_URL: broker.join(";"),
          TQ_RESULT_BACKEND: backend,
          OUTAGE_QUEUE: queue,
          OUTAGE_SETTINGS: JSON.stringify({ workerProcAliveTimeout: 20, ...settings }),
        },
      });
      const app = new Tq("client", { broker, backend, taskDefaultQueue: queue, ...settings });
      const has = (line: string): boolean => {
        try {
          return readFileSync(file, "utf8").split("\n").includes(line);
        } catch {
          return false;
        }
      };
      return {
        worker,
        app,
        /** Seconds until a task sent now has run: publisher and worker have met. */
        async meeting(name: string): Promise<number> {
          const started = performance.now();
          await app.sendTask("outage.early", [file, name], { retryPolicy: { maxRetries: null } });
          await until(() => has(`end ${name}`), { message: `${name} to run` }).catch((error: Error) => {
            throw new Error(`${error.message}; the worker said:\n${worker.output}`);
          });
          return (performance.now() - started) / 1000;
        },
        async [Symbol.asyncDispose]() {
          for (const part of [app, worker, folder]) await part[Symbol.asyncDispose]();
        },
      };
    }

    const note = (context: TestContext, what: string, seconds: number): void =>
      void context.annotate(`${what}: ${seconds.toFixed(2)} s`);

    for (const strategy of ["round-robin", "shuffle"] as const) {
      test.concurrent(`${strategy}: both move to the one that serves, and back when that one ends`, async (context) => {
        await using pair = await openPair();
        const [first, second] = pair.links;
        first.cut();
        await using acts = await scene(pair, { brokerFailoverStrategy: strategy });
        await acts.worker.ready();
        await acts.meeting("at the second");
        await acts.worker.printed(`127.0.0.1:${second.port}`);
        first.restore();
        second.cut();
        const seconds = await acts.meeting("at the first");
        note(context, "moved", seconds);
        expect(seconds).toBeLessThan(5);
        await acts.worker.printed(/Broker \S+ cannot be reached: going on with \S+/);
        expect(await acts.worker.term()).toEqual({ code: 0, signal: null });
        expect(acts.worker.output).not.toContain(password);
        expect(acts.worker.output).not.toContain("guest:guest");
      }, 60_000);
    }

    test.concurrent("a first broker that answers nothing costs no more than brokerConnectionTimeout", async (context) => {
      await using pair = await openPair();
      const [first] = pair.links;
      first.blackHole();
      const started = performance.now();
      await using acts = await scene(pair, { brokerConnectionTimeout: 1 });
      await acts.worker.printed("Connected to");
      const connected = (performance.now() - started) / 1000;
      note(context, "connected, with the start of the process", connected);
      const seconds = await acts.meeting("soon");
      note(context, "published", seconds);
      // By far less than the four seconds it would be without the setting.
      expect(seconds).toBeLessThan(3);
      expect(await acts.worker.term()).toEqual({ code: 0, signal: null });
    }, 60_000);

    test.concurrent("a broker that falls silent is left, although connections to it seem to live", async (context) => {
      await using pair = await openPair();
      const [first] = pair.links;
      await using acts = await scene(pair, { brokerConnectionTimeout: 1 });
      await acts.worker.ready();
      await acts.meeting("at the first");
      first.blackHole();
      // A client anew: one that has published waits longer for an answer than a worker does.
      await acts.app.close();
      const started = performance.now();
      await acts.worker.printed(/going on with/);
      note(context, "worker moved", (performance.now() - started) / 1000);
      await acts.meeting("at the second");
      note(context, "met", (performance.now() - started) / 1000);
      expect(await acts.worker.term()).toEqual({ code: 0, signal: null });
    }, 60_000);
  });
}
