import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { root } from "../helpers/build.ts";
import { describeWith, freshRedis } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";

const kinds = [
  {
    name: "on Redis",
    needs: ["redis-server"],
    async make() {
      const redis = await freshRedis();
      return { url: `${redis.url}/0`, [Symbol.asyncDispose]: () => redis[Symbol.asyncDispose]() };
    },
    optionsOf: (_worker: string) => ({}),
    returned: "messages of a dead consumer were put back",
  },
  {
    name: "on the embedded store, where the others cannot see its process",
    needs: [],
    async make() {
      const folder = await temporaryFolder();
      return { url: `sqlite://${folder.file("tq.db")}`, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
    },
    // As in a container of its own.
    optionsOf: (worker: string) => ({ machine: worker }),
    returned: "is gone: 1 messages go back",
  },
] as const;

for (const { name, needs, make, optionsOf, returned } of kinds) {
  describeWith(needs, `a worker ${name} whose event loop a task blocks for longer than a lease lasts`, () => {
    test("keeps its messages, over a connection it has only meanwhile; killed, it lets them go", async () => {
      await using folder = await temporaryFolder();
      await using broker = await make();
      const [solos, file] = ["blocked", folder.file("lines")];
      const start = (worker: string) =>
        startWorker({
          app: join(root, "test", "apps", "endings.ts"),
          env: {
            TQ_BROKER_URL: broker.url,
            TQ_RESULT_BACKEND: "disabled://",
            ENDINGS_QUEUE: solos,
            ENDINGS_SETTINGS: JSON.stringify({ brokerTransportOptions: optionsOf(worker) }),
          },
          args: ["-P", "solo", "-n", `${worker}@%h`],
        });
      await using one = start("one");
      await using two = start("two");
      await using app = new Tq("client", { broker: broker.url, taskDefaultQueue: solos });
      await Promise.all([one.ready(), two.ready()]);
      const lines = (): string[] => (existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean) : []);
      await app.sendTask("endings.spin", [file, 9]);
      await until(() => lines().includes("end spin"), { timeout: 20 });
      expect(lines()).toEqual(["begin spin", "end spin"]);
      expect(one.output + two.output).not.toContain(returned);

      const before = count(one.output);
      await app.sendTask("endings.spin", [file, 30]);
      await until(() => lines().length === 3 && count(one.output) + count(two.output) === 2);
      const [victim, other] = count(one.output) > before ? [one, two] : [two, one];
      await victim.kill9Group();
      await other.printed(returned, { timeout: 15 });
      await until(() => lines().length === 4, { timeout: 15 });
      await other.kill9Group();
    }, 60_000);
  });
}

const count = (output: string): number => output.match(/ received$/gm)?.length ?? 0;
