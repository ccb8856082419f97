import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { describe, test } from "vitest";
import { isCI } from "./mode.ts";
import { evalInRabbit, type RabbitControl } from "./rabbit-server.ts";
import { type RedisOptions, type RedisServer, startRedis } from "./redis-server.ts";

/**
 * What tests may ask for, and the variable by which `npm test` says that it is there.
 *
 * - redis, amqp: a server shared by the whole run;
 * - redis-server, rabbitmq-server: the program, for tests that start, kill and restart their own;
 * - vhost: the shared RabbitMQ can be told to make virtual hosts;
 * - celery: a Python environment with a real Celery 5.6;
 * - tmux: a terminal to run full-screen programs in.
 */
const variables = {
  redis: "TQ_TEST_REDIS_URL",
  amqp: "TQ_TEST_AMQP_URL",
  "redis-server": "TQ_TEST_REDIS_SERVER",
  "rabbitmq-server": "TQ_TEST_RABBITMQ_SERVER",
  vhost: "TQ_TEST_RABBITMQ_CONTROL",
  celery: "TQ_TEST_CELERY",
  shellcheck: "TQ_TEST_SHELLCHECK",
  tini: "TQ_TEST_TINI",
  tmux: "TQ_TEST_TMUX",
} as const;

export type ServiceName = keyof typeof variables;

/** Whether a service is there. */
export function hasService(service: ServiceName): boolean {
  return Boolean(process.env[variables[service]]);
}

function required(service: ServiceName): string {
  const value = process.env[variables[service]];
  if (value) return value;
  throw new Error(`${variables[service]} is not set: run the tests by npm test, or set it`);
}

/** The shared Redis, as redis://host:port without a database. Prefer `freshRedis` to sharing. */
export const redisUrl = (): string => required("redis");

/** The shared RabbitMQ with its default virtual host. Prefer `freshVhost` to sharing. */
export const amqpUrl = (): string => required("amqp");

/** The `bin` folder of the Python environment that has Celery. */
export const celeryBin = (): string => required("celery");

/** The program tmux. */
export const tmuxProgram = (): string => required("tmux");

/**
 * `describe` for tests that need services. Where one is missing the tests are skipped and their
 * group's name says for want of what; with CI=true they fail instead.
 */
export function describeWith(needs: ServiceName | readonly ServiceName[], name: string, define: () => void): void {
  const missing = [needs].flat().filter((service) => !hasService(service));
  if (missing.length === 0) {
    describe(name, define);
    return;
  }
  const reason = `${name} [needs ${missing.join(", ")}]`;
  if (!isCI()) {
    describe.skip(reason, define);
    return;
  }
  describe(reason, () => {
    test("has the services it needs", () => {
      throw new Error(`${missing.map((service) => variables[service]).join(", ")} not set; CI runs every test`);
    });
  });
}

/** A private, empty Redis for one test file or one test; cheap enough (20 ms) that nobody need share. */
export function freshRedis(options: RedisOptions = {}): Promise<RedisServer> {
  return startRedis(options);
}

/** An empty virtual host of the shared RabbitMQ. */
export interface VirtualHost extends AsyncDisposable {
  readonly name: string;
  /** The AMQP URL of this virtual host. */
  readonly url: string;
}

/** Makes an empty virtual host in the shared RabbitMQ (0.3 s); disposing it deletes it with all its queues. */
export async function freshVhost(): Promise<VirtualHost> {
  const control = JSON.parse(required("vhost")) as RabbitControl;
  const name = `test-${randomBytes(6).toString("hex")}`;
  await evalInRabbit(
    control,
    `ok = rabbit_vhost:add(<<"${name}">>, <<"guest">>), ` +
      `rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"${name}">>, <<".*">>, <<".*">>, <<".*">>, <<"guest">>).`,
  );
  return {
    name,
    url: `${amqpUrl()}/${name}`,
    async [Symbol.asyncDispose]() {
      await evalInRabbit(control, `rabbit_vhost:delete(<<"${name}">>, <<"guest">>).`);
    },
  };
}

/** Whether this system keeps processes under /proc, which some tests need to look at them. */
export const hasProc = (): boolean => existsSync("/proc/self/environ");
