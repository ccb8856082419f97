import { afterAll, beforeAll } from "vitest";
import { describeWith, freshRedis, freshVhost } from "../helpers/services.ts";
import { startCeleryWorker, startWorker, type WorkerHandle } from "../helpers/worker.ts";
import { pythonClient, type Surroundings } from "./client.ts";
import { tqClient } from "./tq-client.ts";
import { type WorkflowPairing, workflowContract } from "./workflow-contract.ts";

/** One pairing after another, each with a store of its own; results, and so chords, are kept in Redis. */
export function workflowsOver(
  transport: "redis" | "amqp",
  pairings: readonly (readonly [client: WorkflowPairing["client"], workers: WorkflowPairing["workers"]])[],
): void {
  const needs =
    transport === "redis" ? (["redis-server", "celery"] as const) : (["vhost", "redis-server", "celery"] as const);
  describeWith(needs, `workflows over ${transport}`, () => {
    const servers: AsyncDisposable[] = [];
    const surroundings: Surroundings[] = [];
    beforeAll(async () => {
      const redis = await freshRedis();
      servers.push(redis);
      for (const index of pairings.keys()) {
        let broker = `${redis.url}/${2 * index}`;
        if (transport === "amqp") {
          const vhost = await freshVhost();
          servers.push(vhost);
          broker = vhost.url;
        }
        surroundings.push({ TQ_BROKER_URL: broker, TQ_RESULT_BACKEND: `${redis.url}/${2 * index + 1}` });
      }
    });
    afterAll(async () => {
      for (const server of servers.reverse()) await server[Symbol.asyncDispose]();
    });

    for (const [index, [client, workers]] of pairings.entries()) {
      const own = (): Surroundings => surroundings[index] as Surroundings;
      const launch = async (language: "Python" | "tq"): Promise<WorkerHandle> => {
        const start = language === "Python" ? startCeleryWorker : startWorker;
        const worker = start({ args: ["-c", "2", "-n", `${language}@%h`], env: { ...own() } });
        await worker.ready();
        return worker;
      };
      workflowContract({
        client,
        workers,
        connect: () => (client === "Python" ? pythonClient : tqClient)(own()),
        startWorkers: () =>
          Promise.all((workers === "Python and tq" ? (["Python", "tq"] as const) : [workers]).map(launch)),
      });
    }
  });
}
