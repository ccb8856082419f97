import { findPrograms, type Program, type Say } from "./programs.ts";
import { startRabbit } from "./rabbit-server.ts";
import { startRedis } from "./redis-server.ts";

/** The services of one run of the suite. */
export interface Services extends AsyncDisposable {
  /** The variables by which test/helpers/services.ts finds them. */
  readonly env: Readonly<Record<string, string>>;
  /** What could not be had, each in one line that says what to install. */
  readonly missing: readonly string[];
}

/**
 * Finds or installs Redis, RabbitMQ and Celery, and starts the two servers side by side. Servers
 * given by TQ_TEST_REDIS_URL or TQ_TEST_AMQP_URL are used as they are.
 */
export async function provideServices(say: Say): Promise<Services> {
  const programs = await findPrograms(say);
  const env: Record<string, string> = {};
  const missing: string[] = [];
  const started: AsyncDisposable[] = [];
  const note = (variable: string, program: Program): string | undefined => {
    if ("missing" in program) {
      missing.push(program.missing);
      return undefined;
    }
    env[variable] = program.path;
    return program.path;
  };

  const start = async (name: string, begin: () => Promise<AsyncDisposable>): Promise<void> => {
    try {
      started.push(await begin());
    } catch (error) {
      missing.push(`${name} is installed but does not start: ${String(error)}`);
    }
  };
  const redis = note("TQ_TEST_REDIS_SERVER", programs.redisServer);
  const rabbit = note("TQ_TEST_RABBITMQ_SERVER", programs.rabbitmqServer);
  note("TQ_TEST_CELERY", programs.celery);
  note("TQ_TEST_SHELLCHECK", programs.shellcheck);
  note("TQ_TEST_TINI", programs.tini);
  note("TQ_TEST_TMUX", programs.tmux);
  await Promise.all([
    redis !== undefined &&
      !process.env.TQ_TEST_REDIS_URL &&
      start("Redis", async () => {
        const server = await startRedis({ binary: redis });
        env.TQ_TEST_REDIS_URL = server.url;
        return server;
      }),
    rabbit !== undefined &&
      !process.env.TQ_TEST_AMQP_URL &&
      start("RabbitMQ", async () => {
        const server = await startRabbit({ binary: rabbit });
        env.TQ_TEST_AMQP_URL = server.url;
        env.TQ_TEST_RABBITMQ_CONTROL = JSON.stringify(server.control);
        return server;
      }),
  ]);
  return {
    env,
    missing,
    async [Symbol.asyncDispose]() {
      await Promise.all(started.map((server) => server[Symbol.asyncDispose]()));
    },
  };
}
