import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { root } from "../helpers/build.ts";
import { describeWith, freshRedis } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";

describeWith("redis-server", "a worker whose event loop a task blocks for longer than a lease lasts", () => {
  test("keeps its messages, over a connection it has only meanwhile; killed, it lets them go", async () => {
    await using folder = await temporaryFolder();
    await using redis = await freshRedis();
    const [solos, file] = ["blocked", folder.file("lines")];
    const env = { TQ_BROKER_URL: `${redis.url}/0`, TQ_RESULT_BACKEND: "disabled://", ENDINGS_QUEUE: solos };
    const start = (name: string) =>
      startWorker({ app: join(root, "test", "apps", "endings.ts"), env, args: ["-P", "solo", "-n", `${name}@%h`] });
    await using one = start("one");
    await using two = start("two");
    await using app = new Tq("client", { broker: env.TQ_BROKER_URL, taskDefaultQueue: solos });
    await Promise.all([one.ready(), two.ready()]);
    const lines = (): string[] => (existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean) : []);
    await app.sendTask("endings.spin", [file, 9]);
    await until(() => lines().includes("end spin"), { timeout: 20 });
    expect(lines()).toEqual(["begin spin", "end spin"]);
    expect(one.output + two.output).not.toContain("messages of a dead consumer");

    const before = count(one.output);
    await app.sendTask("endings.spin", [file, 30]);
    await until(() => lines().length === 3 && count(one.output) + count(two.output) === 2);
    const [victim, other] = count(one.output) > before ? [one, two] : [two, one];
    await victim.kill9Group();
    await other.printed("messages of a dead consumer were put back", { timeout: 15 });
    await until(() => lines().length === 4, { timeout: 15 });
    await other.kill9Group();
  }, 60_000);
});

const count = (output: string): number => output.match(/ received$/gm)?.length ?? 0;
