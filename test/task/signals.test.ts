import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { SignalMap } from "../../src/index.ts";
import { Signals } from "../../src/task/signals.ts";
import { root } from "../helpers/build.ts";
import { startChild } from "../helpers/child.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";

interface Told {
  readonly name: keyof SignalMap;
  readonly task: string | null;
  readonly said: string | null;
  readonly pid: number;
}

describe("a real worker, a beat and a client", () => {
  test("tell every signal there is, where Celery tells it", async () => {
    await using folder = await temporaryFolder();
    const file = folder.file("signals");
    const store = `sqlite://${folder.file("tq.db")}`;
    const env = { SIGNALS_FILE: file, TQ_BROKER_URL: store, TQ_RESULT_BACKEND: store };
    Object.assign(process.env, env);
    const appFile = join(root, "test", "apps", "signalled.ts");
    const { app, add, fails, retries, dies, careless, signalNames } = await import("../apps/signalled.ts");
    const told = (): Told[] =>
      existsSync(file)
        ? readFileSync(file, "utf8")
            .split("\n")
            .filter(Boolean)
            .map((line) => JSON.parse(line) as Told)
        : [];
    const worker = startWorker({
      app: appFile,
      env,
      cwd: folder.path,
      args: ["-c", "1", "-B", "-s", folder.file("schedule"), "--heartbeat-interval", "1"],
    });
    const beat = startChild(
      process.execPath,
      [
        join(root, "bin", "tq.js"),
        "-A",
        appFile,
        "beat",
        "-s",
        folder.file("other"),
        "--pidfile",
        folder.file("beat.pid"),
      ],
      { cwd: folder.path, env: { ...process.env, ...env } },
    );
    try {
      await worker.ready();
      const revoked = await add.applyAsync([1, 1], { expires: new Date(Date.now() - 1000) });
      const unknown = await app.sendTask("signalled.nowhere");
      const broker = await app.broker();
      const message = {
        headers: {},
        properties: {},
        contentType: "application/json",
        contentEncoding: "utf-8",
        body: "",
      };
      await broker.publish(message, { exchange: "", routingKey: "celery" });
      await expect((await dies.delay()).get({ timeout: 20 })).rejects.toThrow("exited prematurely");
      await (await add.delay(1, 2)).get({ timeout: 20 });
      await (await retries.delay()).get({ timeout: 20 });
      await (await careless.delay()).get({ timeout: 20 });
      await expect((await fails.delay()).get({ timeout: 20 })).rejects.toThrow("no");
      await expect(revoked.get({ timeout: 20 })).rejects.toThrow("expired");
      await expect(unknown.get({ timeout: 20 })).rejects.toThrow("signalled.nowhere");
      await until(() => told().some(({ name }) => name === "beatInit"), { message: "beat to begin" });
      await until(() => told().some(({ name }) => name === "taskRejected"), { message: "the message to be refused" });
      await until(() => told().some(({ name }) => name === "heartbeatSent"), { message: "a heartbeat" });
      await beat.stop();
      await worker.term();
    } finally {
      await beat.kill();
      await worker.kill9Group();
      await app.close();
    }
    const all = told();
    expect(signalNames.filter((name) => !all.some((one) => one.name === name))).toEqual([]);

    // Who tells of what, and in which process.
    const main = all.find(({ name }) => name === "workerReady")?.pid;
    const of = (name: keyof SignalMap, task: string | null = null) =>
      all.filter((one) => one.name === name && (task === null || one.task === task));
    const places = (name: keyof SignalMap, task: string) =>
      of(name, task).map(({ pid }) => (pid === main ? "main" : pid === process.pid ? "client" : "child"));
    expect(places("beforeTaskPublish", "signalled.add")).toEqual(["client", "client"]);
    expect(places("taskPrerun", "signalled.add")).toEqual(["child"]);
    expect(places("taskPostrun", "signalled.retries")).toEqual(["child", "child"]);
    expect(of("taskPostrun", "signalled.retries").map(({ said }) => said)).toEqual(["RETRY", "SUCCESS"]);
    expect(places("taskRetry", "signalled.retries")).toEqual(["child"]);
    expect(places("taskReceived", "signalled.add")).toEqual(["main"]);
    expect(places("taskRevoked", "signalled.add")).toEqual(["main"]);
    expect(places("taskUnknown", "signalled.nowhere")).toEqual(["main"]);
    expect(places("taskFailure", "signalled.fails")).toEqual(["child"]);
    // The child is gone: its parent tells.
    expect(places("taskFailure", "signalled.dies")).toEqual(["main"]);
    expect(of("taskInternalError")).toMatchObject([{ task: "signalled.careless", said: "careless handler" }]);
    expect(of("taskSuccess", "signalled.careless")).toHaveLength(1);
  }, 60_000);
});

describe("listeners", () => {
  test("may be for one sender, take each other's place by a uid, and be taken off", async () => {
    const signals = new Signals();
    const told: string[] = [];
    const request = {} as never;
    const prerun = (task: string) => signals.send("taskPrerun", { task, request });
    const all = ({ task }: { readonly task: string }): void => void told.push(`all ${task}`);
    signals.connect("taskPrerun", all);
    signals.connect("taskPrerun", ({ task }) => void told.push(`one ${task}`), { sender: "app.one" });
    signals.connect("workerReady", ({ hostname }) => void told.push(`ready ${hostname}`), { sender: "w1@host" });
    signals.connect("taskPrerun", () => void told.push("replaced"), { dispatchUid: "mine" });
    signals.connect("taskPrerun", ({ task }) => void told.push(`uid ${task}`), { dispatchUid: "mine" });
    await prerun("app.one");
    await prerun("app.two");
    await signals.send("workerReady", { hostname: "w1@host" });
    await signals.send("workerReady", { hostname: "w2@host" });
    expect(told).toEqual(["all app.one", "one app.one", "uid app.one", "all app.two", "uid app.two", "ready w1@host"]);
    expect(signals.disconnect("taskPrerun", all)).toBe(true);
    expect(signals.disconnect("taskPrerun", "mine")).toBe(true);
    expect(signals.disconnect("taskPrerun", all)).toBe(false);
    told.length = 0;
    await prerun("app.two");
    expect(told).toEqual([]);
    expect(signals.has("taskPrerun")).toBe(true);
  });
});
