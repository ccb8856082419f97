import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { brokerKinds } from "../helpers/brokers.ts";
import { root } from "../helpers/build.ts";
import { describeWith } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";

/** Runs a command line and gives what it printed. */
function tq(words: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [join(root, "bin", "tq.js"), ...words], (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
    );
  });
}

// What differs between brokers is in their contract tests; here it is the command.
for (const kind of brokerKinds.slice(0, 1)) {
  describeWith(kind.needs, `tq dead on ${kind.name}`, () => {
    test("lists, shows, redrives and purges what was rejected, under its own ids", { timeout: 120_000 }, async () => {
      await using broker = await kind.make();
      await using folder = await temporaryFolder();
      const settings = { brokerUrl: broker.env.TQ_BROKER_URL, resultBackend: "disabled://" };
      const config = folder.file("tq.config.json");
      writeFileSync(config, JSON.stringify(settings));
      const dead = async (...words: string[]) => {
        const { stdout, ...rest } = await tq(["--config", config, "dead", ...words]);
        return { ...rest, stdout, rows: stdout.trim().split("\n").filter(Boolean) };
      };
      await using app = new Tq("app", {
        broker: settings.brokerUrl,
        backend: "disabled://",
        taskDefaultQueue: broker.queue,
      });
      expect(await dead("ls")).toMatchObject({ code: 0, stdout: "", stderr: "There are none.\n" });

      // Three rejected by hand, each in another way.
      const sent = [
        await app.sendTask("a.one", [1]),
        await app.sendTask("a.two", [2]),
        await app.sendTask("b.one", [3]),
      ];
      const ids = sent.map(({ id }) => id);
      const own = await app.broker();
      const came: string[] = [];
      const subscription = await own.subscribe({
        node: "w1@host",
        prefetch: 0,
        onLost: () => undefined,
        onDelivery(delivery) {
          came.push(String(delivery.message.headers.id));
          if (came.length > 3) return;
          const shelf = delivery.message.headers.task === "b.one";
          void delivery.reject({
            requeue: false,
            reason: `no use for ${delivery.message.headers.task}\nat all`,
            shelf,
          });
        },
      });
      for (const queue of app.topology.consumed.values()) await subscription.consume(queue);
      await until(async () => (await own.deadLetters.count()) === 2 && (await own.shelf.count()) === 1);

      const listed = await dead("ls");
      expect(listed.rows).toHaveLength(2);
      expect(listed.rows[0]).toMatch(
        new RegExp(`${broker.queue} +w1@host +a\\.two\\[${ids[1]}\\] +no use for a\\.two$`),
      );
      expect((await dead("ls", "--limit", "1")).rows).toHaveLength(1);
      expect((await dead("ls", "--where", "task=b.*")).rows).toHaveLength(0);
      const [view] = (await dead("ls", "--json", "--where", "task=*.one,queue=q-*")).rows.map((row) => JSON.parse(row));
      expect(view).toMatchObject({
        task: "a.one",
        task_id: ids[0],
        queue: broker.queue,
        node: "w1@host",
        reason: "no use for a.one\nat all",
        redriven: 0,
        crashes: 0,
      });
      expect(Date.now() - Date.parse(view.at)).toBeLessThan(60_000);
      expect(JSON.parse((await dead("ls", "--shelf", "-j")).stdout)).toMatchObject({ task_id: ids[2] });

      const shown = JSON.parse((await dead("show", ids[1] as string, "--json")).stdout);
      expect(shown).toMatchObject({ task: "a.two", headers: { id: ids[1] }, body: expect.stringMatching(/^\[\[2\]/) });
      expect((await dead("show", "no-such-id")).code).toBe(1);
      expect((await dead("show", view.id)).stdout).toContain("a.one");

      expect((await dead("redrive")).code).toBe(2);
      expect((await dead("redrive", "--where", "colour=red")).code).toBe(2);
      expect((await dead("bury")).code).toBe(2);
      expect((await dead("redrive", "--where", "task=a.two")).stdout).toBe("Put 1 message back into its queue.\n");
      expect((await dead("redrive", "--shelf", ids[2] as string)).stdout).toBe("Put 1 message back into its queue.\n");
      await until(() => came.length === 5);
      expect(came.slice(3).sort()).toEqual([ids[1], ids[2]].sort());

      expect(await dead("purge", "--where", "id=*", "-f")).toMatchObject({
        code: 0,
        stdout: "Forgot 1 dead letter.\n",
      });
      expect((await dead("ls")).rows).toEqual([]);
      await subscription.close();
    });
  });
}
