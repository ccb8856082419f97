import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { freshRedis, freshVhost, hasService, type ServiceName } from "./services.ts";
import { temporaryFolder } from "./tmp.ts";

/** A store of one's own for one test, by the URLs a worker and its clients are given. */
export interface BrokerUnderTest extends AsyncDisposable {
  readonly env: { readonly TQ_BROKER_URL: string; readonly TQ_RESULT_BACKEND: string };
  /** A queue nobody else uses. */
  readonly queue: string;
}

/** A kind of broker the worker's behaviour is shown on. */
export interface BrokerKind {
  readonly name: string;
  readonly needs: readonly ServiceName[];
  readonly make: () => Promise<BrokerUnderTest>;
}

const queueName = (): string => `q-${randomBytes(4).toString("hex")}`;

/** The brokers a worker can live on. */
export const brokerKinds: readonly BrokerKind[] = [
  {
    name: "the embedded store",
    needs: [],
    async make() {
      const folder = await temporaryFolder();
      const url = `sqlite://${join(folder.path, "tq.db")}`;
      return {
        env: { TQ_BROKER_URL: url, TQ_RESULT_BACKEND: url },
        queue: queueName(),
        [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
      };
    },
  },
  {
    name: "Redis",
    needs: ["redis-server"],
    async make() {
      const server = await freshRedis();
      return {
        env: { TQ_BROKER_URL: `${server.url}/0`, TQ_RESULT_BACKEND: `${server.url}/1` },
        queue: queueName(),
        [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
      };
    },
  },
  {
    name: "RabbitMQ",
    needs: ["amqp", "vhost", "redis-server"],
    async make() {
      const [vhost, server] = await Promise.all([freshVhost(), freshRedis()]);
      return {
        env: { TQ_BROKER_URL: vhost.url, TQ_RESULT_BACKEND: `${server.url}/1` },
        queue: queueName(),
        async [Symbol.asyncDispose]() {
          await vhost[Symbol.asyncDispose]();
          await server[Symbol.asyncDispose]();
        },
      };
    },
  },
];

export { hasService };
