import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { type BrokerUnderTest, brokerKinds } from "../helpers/brokers.ts";
import { root } from "../helpers/build.ts";
import { startChild } from "../helpers/child.ts";
import { describeWith } from "../helpers/services.ts";
import { openTerminal, type Terminal } from "../helpers/terminal.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker, type WorkerHandle } from "../helpers/worker.ts";

const tq = join(root, "bin", "tq.js");
const wire = join(root, "test", "apps", "wire.ts");
const kind = brokerKinds[0] as (typeof brokerKinds)[number];

describeWith([...kind.needs, "tmux"], "tq events", () => {
  let broker: BrokerUnderTest;
  let app: Tq;
  let worker: WorkerHandle;
  let terminal: Terminal;
  let env: Readonly<Record<string, string>>;

  beforeAll(async () => {
    broker = await kind.make();
    const settings = { taskDefaultQueue: broker.queue, workerSendTaskEvents: true };
    env = { ...broker.env, TQ_SETTINGS: JSON.stringify(settings) };
    app = new Tq("client", {
      broker: broker.env.TQ_BROKER_URL,
      backend: broker.env.TQ_RESULT_BACKEND,
      taskDefaultQueue: broker.queue,
    });
    worker = startWorker({ env, args: ["-c", "1", "-n", "w1@screen"] });
    terminal = await openTerminal([process.execPath, tq, "-A", wire, "events"], { env, width: 110, height: 24 });
    await worker.ready();
  });
  afterAll(async () => {
    for (const part of [terminal, worker, app, broker]) await part?.[Symbol.asyncDispose]();
  });

  test("the monitor shows workers and tasks, and acts on the one selected by keys", async () => {
    await terminal.shows(/Workers online: w1@screen/);
    const failed = (await app.sendTask("wire.fail", ["broken"])).id;
    await terminal.shows(new RegExp(`${failed} w1@screen +wire.fail +[\\d:]{8} FAILURE`));
    const long = (await app.sendTask("wire.echo", ["lorem ipsum ".repeat(200)])).id;
    const screen = await terminal.shows(new RegExp(`${long}.*SUCCESS`));
    expect(screen[0]).toMatch(/^ {3}tq events \d/);
    expect(screen[2]).toMatch(/^ {3}UUID +WORKER +TASK +TIME +STATE/);
    expect(screen.join("\n")).toContain("Info: events: ");
    expect(screen.join("\n")).toMatch(/Keys: j:down k:up i:info t:traceback r:result c:revoke/);
    // The newest stands first, and is selected first.
    await terminal.press("j");
    await terminal.shows(/Selected: args=\('lorem ipsum/);
    await terminal.press("t"); // it has none
    await terminal.press("i");
    expect((await terminal.shows(new RegExp(`Task details for ${long}`))).join("\n")).toMatch(
      /state: SUCCESS|args: \(/,
    );
    await terminal.press("Escape");
    await terminal.press("Down", "r");
    await terminal.shows(new RegExp(`Task Result for ${failed}`));
    await terminal.press("x");
    await terminal.press("t");
    expect((await terminal.shows(/Task Exception Traceback/)).join("\n")).toContain("ValueError: broken");
    await terminal.press("x");
    await terminal.press("w");
    await terminal.shows(/w1@screen ONLINE active:0 processed:2 .* tq /);
    await terminal.press("x");
    await terminal.press("c");
    await terminal.shows(/Remote Control Command Replies/);
    await terminal.shows(/w1@screen: /);
    await terminal.press("x");
    const inspect = app.control.inspect({ destination: "w1@screen", timeout: 10 });
    expect((await inspect.revoked())?.["w1@screen"]).toEqual([failed]);
    await terminal.press("l");
    await terminal.press("5", "/", "m");
    await terminal.shows(/New rate limit: 5\/m_/);
    await terminal.press("Enter");
    await terminal.shows(/w1@screen: /);
    await terminal.press("x");
    const registered = (await inspect.registered("rate_limit"))?.["w1@screen"] ?? [];
    expect(registered.filter((task) => task.includes("rate_limit=5/m"))).toEqual(["wire.fail [rate_limit=5/m]"]);
  });

  test("a task revoked from the screen does not run", async () => {
    await using folder = await temporaryFolder();
    const file = folder.file("ran");
    const busy = await app.sendTask("wire.sleep", [60]);
    await terminal.shows(new RegExp(`${busy.id}.*STARTED`));
    const waiting = await app.sendTask("wire.record", [file, "it ran"]);
    await terminal.shows(new RegExp(`${waiting.id}.*RECEIVED`));
    await terminal.press("Home"); // the newest
    await terminal.shows(/Selected: .*it ran/);
    await terminal.press("c");
    await terminal.shows(/w1@screen: .*flagged as revoked/);
    await terminal.press("x");
    await app.control.terminate(busy.id);
    await terminal.shows(new RegExp(`${busy.id}.*REVOKED`));
    await terminal.shows(new RegExp(`${waiting.id}.*REVOKED`));
    expect(await waiting.state()).toBe("REVOKED");
    expect(existsSync(file)).toBe(false);
  });

  test("who waits for answers sees dots meanwhile, and nothing of them afterwards", async () => {
    const command = [process.execPath, tq, "-A", wire, "inspect", "ping", "-d", "nobody@nowhere", "-t", "3"];
    await using asking = await openTerminal(command, { env, width: 80, height: 10 });
    await asking.shows(/^\.\.\.+$/);
    const screen = await asking.shows(/ended with 69/);
    expect(screen[0]).toBe("Error: No nodes replied within time constraint");
    expect(screen.join("\n")).not.toContain("..");
  });

  test("it follows the size of the terminal, scrolls, and leaves the terminal as it was", async () => {
    for (let count = 0; count < 12; count += 1) await app.sendTask("wire.add", [count, 1]);
    await terminal.resize(70, 14);
    await terminal.shows(/wire\.add.*SUCCESS/);
    await terminal.press("Home");
    const small = await until(async () => {
      const lines = await terminal.screen();
      const rows = lines.filter((line) => line.includes("wire.add"));
      return lines.findIndex((line) => line.includes("Keys:")) === 12 && rows.length === 4 && lines;
    });
    expect(small.every((line) => line.length <= 70)).toBe(true);
    await terminal.press("NPage", "NPage", "NPage", "NPage", "NPage");
    await terminal.shows(/wire.fail/);
    await terminal.press("C-c");
    await terminal.shows(/ended with 0/);
  });

  test("it says what it needs where there is no terminal, and dumps there", async () => {
    await using piped = startChild(process.execPath, [tq, "-A", wire, "events"], {
      cwd: root,
      env: { ...process.env, ...env },
    });
    expect(await piped.exited).toMatchObject({ code: 2 });
    expect(piped.output).toContain("tq events --dump");
    await using dump = startChild(process.execPath, [tq, "-A", wire, "events", "-d"], {
      cwd: root,
      env: { ...process.env, ...env },
    });
    await dump.printed("-> evdump: starting capture...");
    await dump.printed(/^w1@screen \[.*\+00:00\] heartbeat: active=0/);
    expect(await dump.stop()).toEqual({ code: 0, signal: null });
  });

  test("a camera takes pictures of what has happened, and is refused when it is none", async () => {
    await using folder = await temporaryFolder();
    const file = folder.file("pictures");
    const cwd = join(root, "test", "apps");
    const withCamera = (spec: string, ...more: readonly string[]) =>
      startChild(process.execPath, [tq, "-A", wire, "events", "--camera", spec, "-F", "0.2", ...more], {
        cwd,
        env: { ...process.env, ...env, CAMERA_FILE: file },
      });
    await using camera = withCamera("./camera.ts:Camera", "--pidfile", folder.file("cam.pid"));
    await camera.printed("-> evcam: Taking snapshots with ./camera.ts:Camera (every 0.2 secs.)");
    const pictures = (): { readonly tasks: readonly string[]; readonly events: number }[] =>
      readFileSync(file, "utf8")
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line));
    await until(() => pictures().some(({ events }) => events > 0));
    expect(readFileSync(folder.file("cam.pid"), "utf8").trim()).toBe(String(camera.pid));
    await app.sendTask("wire.mul", [2, 3]);
    await until(() => pictures().some(({ tasks }) => tasks.includes("wire.mul SUCCESS")));
    expect(await camera.stop()).toEqual({ code: 0, signal: null });
    // In the background, as Celery's: the starter ends, the camera goes on until it is told.
    const files = ["--pidfile", folder.file("back.pid"), "--logfile", folder.file("back.log"), "--umask", "077"];
    const before = pictures().length;
    await using starter = withCamera("./camera.ts:Camera", "--detach", ...files);
    expect(await starter.exited, starter.output).toEqual({ code: 0, signal: null });
    const pid = Number(readFileSync(folder.file("back.pid"), "utf8"));
    expect(pid).not.toBe(starter.pid);
    try {
      await until(() => pictures().some(({ events }, index) => index >= before && events > 0)); // it listens
      await app.sendTask("wire.mul", [2, 4]);
      await until(() => pictures().filter(({ tasks }) => tasks.includes("wire.mul SUCCESS")).length > 1);
      expect(statSync(folder.file("back.log")).mode & 0o777).toBe(0o600);
    } finally {
      process.kill(pid, "SIGTERM");
      await until(() => !existsSync(folder.file("back.pid")));
    }
    await using useless = startChild(process.execPath, [tq, "-A", wire, "events", "--detach"], {
      cwd,
      env: process.env,
    });
    expect(await useless.exited).toMatchObject({ code: 2 });
    expect(useless.output).toContain("--detach is for snapshots: give a --camera");
    await using wrong = withCamera("./wire.ts:app");
    expect(await wrong.exited).toMatchObject({ code: 2 });
    expect(wrong.output).toContain("export a class that extends Polaroid");
    await using often = withCamera("./camera.ts:Camera", "--maxrate", "often");
    expect(await often.exited).toMatchObject({ code: 2 });
    expect(often.output).toContain("a rate must be like 10/s");
  });
});
