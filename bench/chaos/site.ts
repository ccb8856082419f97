import { randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import { type Proxy as Link, startProxy } from "../../test/fault/proxy.ts";
import { evalInRabbit, startRabbit } from "../../test/helpers/rabbit-server.ts";
import { startRedis } from "../../test/helpers/redis-server.ts";
import { temporaryFolder } from "../../test/helpers/tmp.ts";

export type Kind = "sqlite" | "redis" | "amqp";

/** Whoever serves the messages, as far as this run may lay hands on it. */
export interface Server {
  /** SIGKILL. */
  kill(): Promise<void>;
  restart(): Promise<void>;
  /** SIGSTOP, SIGCONT. */
  signal(name: "SIGSTOP" | "SIGCONT"): void;
}

/** Where the ordeal takes place. */
export interface Site extends AsyncDisposable {
  readonly kind: Kind;
  /** For the client that sends. */
  readonly url: string;
  /** For the workers: through the link, where there is one. */
  readonly workerUrl: string;
  readonly queue: string;
  /** The network between workers and broker; undefined for a file, or an encrypted connection. */
  readonly link: Link | undefined;
  /** Undefined when the broker is somebody else's. */
  readonly server: Server | undefined;
  /** Commands for the owner of a Redis. */
  readonly redis?: (command: string, ...args: string[]) => Promise<unknown>;
  /** Erlang for the owner of a RabbitMQ. */
  readonly rabbit?: (code: string) => Promise<void>;
}

/** A broker of our own, or the one at `url`, of which only what this run makes itself is touched. */
export async function openSite(kind: Kind, url?: string): Promise<Site> {
  const queue = `tq-chaos-${randomBytes(4).toString("hex")}`;
  if (url !== undefined) return await openGiven(kind, url, queue);
  if (kind === "sqlite") {
    const folder = await temporaryFolder("tq-chaos-");
    const file = `sqlite://${folder.file("tq.db")}`;
    return {
      kind,
      url: file,
      workerUrl: file,
      queue,
      link: undefined,
      server: undefined,
      [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
    };
  }
  return kind === "redis" ? await openRedis(queue) : await openRabbit(queue);
}

async function openGiven(kind: Kind, url: string, queue: string): Promise<Site> {
  const encrypted = /^(rediss|amqps):/.test(url);
  const link = kind === "sqlite" || encrypted ? undefined : await startProxy(url);
  return {
    kind,
    url,
    workerUrl: link?.url ?? url,
    queue,
    link,
    server: undefined,
    async [Symbol.asyncDispose]() {
      await link?.[Symbol.asyncDispose]();
    },
  };
}

async function openRedis(queue: string): Promise<Site> {
  const durable = { appendfsync: "always" } as const;
  const server = await startRedis({ ...durable, args: ["--enable-debug-command", "yes"] }).catch(
    () => startRedis(durable), // before Redis 7 it is always enabled
  );
  const link = await startProxy(server.url);
  return {
    kind: "redis",
    url: `${server.url}/0`,
    workerUrl: `${link.url}/0`,
    queue,
    link,
    server: {
      kill: () => server.kill(),
      restart: () => server.restart(),
      signal: (name) => void process.kill(server.pid, name),
    },
    async redis(command, ...args) {
      const client = new Redis(server.url, { maxRetriesPerRequest: 20 });
      try {
        return await client.call(command, ...args);
      } finally {
        client.disconnect();
      }
    },
    async [Symbol.asyncDispose]() {
      await link[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

async function openRabbit(queue: string): Promise<Site> {
  const server = await startRabbit();
  const link = await startProxy(server.url);
  return {
    kind: "amqp",
    url: server.url,
    workerUrl: link.url,
    queue,
    link,
    server: {
      kill: () => server.kill(),
      restart: () => server.restart(),
      signal: (name) => server.signal(name),
    },
    rabbit: async (code) => {
      await evalInRabbit(server.control, code);
    },
    async [Symbol.asyncDispose]() {
      await link[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}
