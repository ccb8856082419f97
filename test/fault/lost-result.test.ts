import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { createWire } from "../apps/wire-tasks.ts";
import { describeWith, freshRedis, freshVhost } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker, type WorkerHandle } from "../helpers/worker.ts";
import { startProxy } from "./proxy.ts";

/**
 * The result store is away while the broker serves: a task that acknowledges late keeps its message
 * until its result is stored, so whatever happens to the worker meanwhile, it runs again.
 */

/** A broker apart from the result store. */
interface Place extends AsyncDisposable {
  readonly url: string;
}

async function embedded(): Promise<Place> {
  const folder = await temporaryFolder();
  return {
    url: `sqlite://${folder.file("tq.db")}`,
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

function keepsItsMessage(name: string, open: () => Promise<Place>): void {
  test.concurrent(`${name}: without the result store nothing is acknowledged, and a worker killed then loses nothing`, async () => {
    await using folder = await temporaryFolder();
    await using place = await open();
    await using results = await freshRedis();
    await using link = await startProxy(results.url);
    const file = folder.file("ran");
    const ran = (line: string): number =>
      existsSync(file)
        ? readFileSync(file, "utf8")
            .split("\n")
            .filter((each) => each === line).length
        : 0;
    const start = (): WorkerHandle =>
      startWorker({ env: { TQ_BROKER_URL: place.url, TQ_RESULT_BACKEND: `${link.url}/0` }, args: ["-c", "2"] });
    const { app, handles } = createWire({ TQ_BROKER_URL: place.url, TQ_RESULT_BACKEND: `${results.url}/0` });
    const record = handles.get("wire.record_late");
    const send = async (ids: readonly string[]) => (await record?.delayMany(ids.map((id) => [file, id]))) ?? [];
    const first = start();
    try {
      await first.ready();
      const [warm] = await send(["warm"]);
      await warm?.get({ timeout: 20 });

      // What runs while the store is away runs once, and is stored when the store is back.
      link.cut();
      const ids = ["a", "b", "c"];
      const kept = await send(ids);
      await until(() => ids.every((id) => ran(id) === 1), { timeout: 20, message: "the tasks to run" });
      for (const { id } of kept) await first.printed(new RegExp(`result of ${id} could not be stored: .*Trying again`));
      for (const result of kept) expect(await result.state()).toBe("PENDING");
      link.restore();
      expect(await Promise.all(kept.map((result) => result.get({ timeout: 20 })))).toEqual(ids);

      // A worker that dies with results it could not store takes nothing along.
      link.cut();
      const orphans = ["d", "e", "f"];
      const lost = await send(orphans);
      await until(() => orphans.every((id) => ran(id) === 1), { timeout: 20, message: "the tasks to run" });
      for (const { id } of lost) await first.printed(new RegExp(`result of ${id} could not be stored: .*Trying again`));
      await first.kill9Group();
      link.restore();
      for (const result of lost) expect(await result.state()).toBe("PENDING");
      await using second = start();
      expect(await Promise.all(lost.map((result) => result.get({ timeout: 30 })))).toEqual(orphans);
      expect(await second.term()).toEqual({ code: 0, signal: null });

      // Nothing is left for another one: each message went with its result.
      await using third = start();
      await third.ready();
      const [last] = await send(["last"]);
      await last?.get({ timeout: 20 });
      expect(await third.term()).toEqual({ code: 0, signal: null });
      expect(["warm", ...ids, "last"].map(ran)).toEqual([1, 1, 1, 1, 1]);
      expect(orphans.map(ran)).toEqual([2, 2, 2]);
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${first.output}`, { cause: error });
    } finally {
      await first[Symbol.asyncDispose]();
      await app.close();
    }
  }, 120_000);
}

describeWith(["redis-server", "vhost"], "a result that cannot be stored", () => {
  keepsItsMessage("embedded store", embedded);
  keepsItsMessage("RabbitMQ", freshVhost);
});
