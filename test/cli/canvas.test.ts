import { readFileSync } from "node:fs";
import { chain, chord } from "tq";
import { expect, onTestFinished, test } from "vitest";
import { createWire } from "../apps/wire-tasks.ts";
import { brokerKinds } from "../helpers/brokers.ts";
import { type Commands, startCommands } from "../helpers/commands.ts";
import { describeWith } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";

/** The lines of one command, as users see them. */
async function canvas(tq: Commands, ...args: readonly string[]): Promise<{ code: number; lines: string[] }> {
  const { code, output } = await tq.run("-A", "test/apps/wire.ts", "canvas", ...args);
  return { code, lines: output.trimEnd().split("\n") };
}

const time = String.raw`\d{4}-\d\d-\d\dT[\d:.]+Z`;

for (const kind of brokerKinds) {
  describeWith(kind.needs, `tq canvas on ${kind.name}`, () => {
    const tells = kind.name !== "RabbitMQ";

    test("shows what a workflow waits for, repairs what is lost, and cancels", { timeout: 120_000 }, async () => {
      await using broker = await kind.make();
      await using tq = startCommands("tq", broker.env);
      const { app, tasks } = createWire(broker.env);
      await using _app = app;
      const { add, xsum } = tasks;
      const result = await chord([add.s(1, 1), add.s(2, 2)], xsum.s()).applyAsync([], { queue: "aside" });
      const [one = "", two = ""] = result.parent?.leaves ?? [];
      const silence = "no worker has answered: whether one runs any of these calls is not known";
      const where = tells
        ? "waits in the queue aside"
        : "is with no worker that answers: it waits in a queue or is lost";

      const shown = await canvas(tq, "show", result.id);
      expect(shown.code).toBe(0);
      const text = [
        `PENDING  wire.add[${one}] <- waits for this: ${where}`,
        `PENDING  wire.add[${two}] <- waits for this: ${where}`,
        `chord ${result.parent?.id}: 0 of 2 members have ended`,
        "0 ended, 2 open, 0 to be told",
      ];
      if (tells) expect(shown.lines).toEqual(text);
      else expect(shown.lines).toEqual([silence, expect.stringMatching(/^RabbitMQ does not tell/), ...text]);
      // Its first step, and the chord, are names of it too.
      expect((await canvas(tq, "show", one)).lines).toEqual(shown.lines);
      expect((await canvas(tq, "show", String(result.parent?.id))).lines).toEqual(shown.lines);

      const early = await canvas(tq, "repair", result.id);
      if (tells) {
        expect(early).toEqual({
          code: 0,
          lines: [
            `wire.add[${one}] ${where}: left alone`,
            `wire.add[${two}] ${where}: left alone`,
            "0 sent again, 0 told of a failure before them",
          ],
        });
      } else {
        expect(early.code).not.toBe(0);
        expect(early.lines.at(-1)).toMatch(/^Error: 2 messages wait in the queue aside: what seems lost may be/);
      }

      await (await app.broker()).purge("aside");
      const mended = await canvas(tq, "repair", result.id, "--queue", "celery");
      expect([mended.code, mended.lines.at(-1)]).toEqual([0, "2 sent again, 0 told of a failure before them"]);
      const worker = startWorker({ env: { ...broker.env }, args: ["-c", "1"] });
      onTestFinished(async () => void (await worker.kill9Group()));
      await worker.ready();
      expect(await result.get({ timeout: 20 })).toBe(6);
      const over = await canvas(tq, "show", result.id);
      expect(over.lines.slice(0, 2).sort()).toEqual([`SUCCESS  wire.add[${one}]`, `SUCCESS  wire.add[${two}]`].sort());
      expect(over.lines.slice(2)).toEqual([`SUCCESS  wire.xsum[${result.id}]`, "nothing is left to do"]);

      // What a worker has in hand, and one that failed and of which nobody was told.
      const running = await chain(app.signature<[], number>("wire.sleep", [8]), add.s(1)).delay();
      const first = String(running.parent?.id);
      await until(async () => (await app.asyncResult(first).state()) === "STARTED", { timeout: 10 });
      const busy = await canvas(tq, "show", running.id);
      expect(busy.lines).toEqual([
        expect.stringMatching(`^STARTED  wire.sleep\\[${first}\\] <- waits for this: is active on \\S+@\\S+$`),
        "0 ended, 1 open, 0 to be told",
      ]);
      const [view] = (await canvas(tq, "show", running.id, "--json")).lines.map((line) => JSON.parse(line));
      expect(view).toMatchObject({
        ended: [],
        untold: [],
        chords: [],
        open: [{ id: first, task: "wire.sleep", state: "STARTED", place: { kind: "working", state: "active" } }],
      });
      const repaired = JSON.parse((await canvas(tq, "repair", running.id, "-j")).lines.at(-1) ?? "");
      expect(repaired).toMatchObject({ sent: 0, told: 0, left: [{ id: first, place: { kind: "working" } }] });
      expect(await canvas(tq, "cancel", "--terminate", running.id)).toEqual({ code: 0, lines: ["2 revoked"] });
      await expect(running.get({ timeout: 10 })).rejects.toMatchObject({ name: "TaskRevokedError" });
      expect(await canvas(tq, "cancel", running.id, "--json")).toEqual({ code: 0, lines: ['{"revoked":0}'] });

      expect(await canvas(tq, "show", "no-such-id")).toEqual({
        code: 1,
        lines: ["nothing is known of a workflow no-such-id"],
      });
      expect((await canvas(tq, "repair", "no-such-id")).code).toBe(1);
      expect((await canvas(tq, "cancel", "no-such-id")).code).toBe(1);
      const wrong = await canvas(tq, "bury", running.id);
      expect(wrong.code).toBe(2);
      expect(wrong.lines.join("\n")).toMatch(/the action must be show, repair or cancel, got: bury/);
      expect((await canvas(tq, "show")).code).toBe(2);
      expect(await worker.term()).toEqual({ code: 0, signal: null });
    });

    test("tells what a dead worker took and what comes back of it from what is lost", { timeout: 90_000 }, async ({
      skip,
    }) => {
      if (!tells) return skip("RabbitMQ gives it back as soon as the connection is gone");
      await using broker = await kind.make();
      await using folder = await temporaryFolder();
      await using tq = startCommands("tq", broker.env);
      const { app, tasks } = createWire(broker.env);
      await using _app = app;
      const path = folder.file("recorded");
      const late = app.signature<[], string>("wire.record_late", [path, "done", 3]);
      const worker = startWorker({ env: { ...broker.env }, args: ["-c", "1"] });
      onTestFinished(async () => void (await worker.kill9Group()));
      await worker.ready();
      const result = await chain(late, tasks.echo.s()).delay();
      const id = String(result.parent?.id);
      await until(async () => (await app.asyncResult(id).state()) === "STARTED", { timeout: 20 });
      await worker.kill9Group();
      const call = `wire.record_late\\[${id}\\]`;
      const gone = String.raw`was in the hands of \S+( worker)?, which is gone, and comes back`;
      const repaired = await canvas(tq, "repair", result.id);
      // On one machine its end is seen; on Redis its lease has to end first.
      const hands =
        kind.name === "Redis" ? `is in the hands of a worker, or comes back at ${time} if that one is gone` : gone;
      expect(repaired).toEqual({
        code: 0,
        lines: [
          expect.stringMatching(`^${call} ${hands}.*: left alone$`),
          "0 sent again, 0 told of a failure before them",
        ],
      });
      const shown = async (): Promise<string> => (await canvas(tq, "show", result.id)).lines[0] ?? "";
      // In the embedded store who asks the workers looks after the dead as well.
      const returned = kind.name === "Redis" ? `${gone} as soon as a worker is there` : "waits in the queue celery";
      const line = new RegExp(`^STARTED  ${call} <- waits for this: ${returned}$`);
      await until(async () => line.test(await shown()), { timeout: 20, message: "the lease to end" });
      const next = startWorker({ env: { ...broker.env }, args: ["-c", "1"] });
      onTestFinished(async () => void (await next.kill9Group()));
      await next.ready();
      expect(await result.get({ timeout: 40 })).toBe("done");
      expect(readFileSync(path, "utf8")).toBe("done\n");
      expect(await next.term()).toEqual({ code: 0, signal: null });
    });
  });
}
