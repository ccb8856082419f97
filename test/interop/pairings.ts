import { afterAll, beforeAll } from "vitest";
import { describeWith, freshRedis, freshVhost } from "../helpers/services.ts";
import { startCeleryWorker, startWorker } from "../helpers/worker.ts";
import { pythonClient, type Surroundings } from "./client.ts";
import { interopContract, type Pairing, sharingContract } from "./contract.ts";
import { tqClient } from "./tq-client.ts";

type Language = Pairing["client"];

/** Priorities exist on RabbitMQ in queues declared for them; both sides must declare alike. */
const settings = { amqp: { task_queue_max_priority: 10 }, redis: {} } as const;

/**
 * Runs the contract over one transport for every pairing of languages. Celery with itself is one of
 * them: it shows that the contract describes Celery and not our idea of it.
 */
export function interopOver(transport: "redis" | "amqp"): void {
  const needs = transport === "redis" ? (["redis-server", "celery"] as const) : (["vhost", "celery"] as const);
  describeWith(needs, `interoperability over ${transport}`, () => {
    let server: AsyncDisposable;
    let surroundings: Surroundings;
    beforeAll(async () => {
      let urls: readonly [broker: string, backend: string];
      if (transport === "redis") {
        const redis = await freshRedis();
        server = redis;
        urls = [`${redis.url}/0`, `${redis.url}/1`];
      } else {
        const vhost = await freshVhost();
        server = vhost;
        urls = [vhost.url, "rpc://"];
      }
      surroundings = {
        TQ_BROKER_URL: urls[0],
        TQ_RESULT_BACKEND: urls[1],
        TQ_SETTINGS: JSON.stringify(settings[transport]),
      };
    });
    afterAll(async () => {
      await server?.[Symbol.asyncDispose]();
    });

    const connect = (language: Language) => (language === "Python" ? pythonClient : tqClient)(surroundings);
    const launch = async (language: Language, args: readonly string[]) => {
      const start = language === "Python" ? startCeleryWorker : startWorker;
      const worker = start({ args, env: { ...surroundings } });
      await worker.ready();
      return worker;
    };
    const pairings: readonly (readonly [Language, Language])[] = [
      ["Python", "Python"],
      ["Python", "tq"],
      ["tq", "Python"],
      ["tq", "tq"],
    ];
    for (const [client, worker] of pairings) {
      interopContract({
        client,
        worker,
        transport,
        connect: () => connect(client),
        startWorker: (queues, concurrency, args = []) =>
          launch(worker, ["-Q", queues.join(","), "-c", String(concurrency), ...args]),
      });
    }
    for (const client of ["Python", "tq"] as const) {
      sharingContract(client, {
        connect: () => connect(client),
        startWorkers: () =>
          Promise.all([launch("Python", ["-c", "2", "-n", "python@%h"]), launch("tq", ["-c", "2", "-n", "tq@%h"])]),
      });
    }
  });
}
