import { execFileSync } from "node:child_process";
import { existsSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { silentLogger } from "../../src/log.ts";
import { takeServiceManager } from "../../src/system/sd-notify.ts";
import { root } from "../helpers/build.ts";
import { type Child, startChild } from "../helpers/child.ts";
import { celeryBin, describeWith } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";

/** A notify socket and what came to it, without the barrier with which systemd-notify waits to be heard. */
async function notifySocket(address: string) {
  const python = join(celeryBin(), "python");
  const listener: Child = startChild(python, [join(root, "test", "python", "notify_socket.py"), address]);
  await listener.printed("bound");
  const datagrams = (): string[] =>
    listener.lines
      .filter((line) => line.startsWith("["))
      .map((line) => (JSON.parse(line)[1] as string[]).join(" "))
      .filter((text) => text.trim() !== "BARRIER=1");
  return { datagrams, [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose]() };
}

const count = (lines: readonly string[], text: string): number => lines.filter((line) => line === text).length;

describeWith("celery", "a worker under systemd", () => {
  test("says READY when it is, WATCHDOG while it lives, STOPPING when told to, and nothing while it hangs", async () => {
    await using folder = await temporaryFolder();
    await using socket = await notifySocket(folder.file("notify"));
    await using worker = startWorker({
      app: join(root, "test", "apps", "acts.ts"),
      args: ["-P", "solo", "-n", "w1@here"],
      cwd: folder.path,
      env: {
        NOTIFY_SOCKET: folder.file("notify"),
        WATCHDOG_USEC: "400000",
        TQ_BROKER_URL: `sqlite://${folder.file("tq.db")}`,
      },
    });
    await worker.ready();
    await until(() => socket.datagrams().includes("READY=1 STATUS=w1@here ready."));
    await until(() => count(socket.datagrams(), "WATCHDOG=1") >= 2);

    worker.signal("SIGSTOP");
    const silentFrom = count(socket.datagrams(), "WATCHDOG=1");
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    // One may have been on its way.
    expect(count(socket.datagrams(), "WATCHDOG=1")).toBeLessThanOrEqual(silentFrom + 1);
    worker.signal("SIGCONT");
    await until(() => count(socket.datagrams(), "WATCHDOG=1") >= silentFrom + 2);

    await worker.term();
    await until(() => socket.datagrams().includes("STOPPING=1 STATUS=w1@here is stopping."));
    const order = socket.datagrams();
    expect(order.findIndex((line) => line.startsWith("READY"))).toBeLessThan(
      order.findIndex((line) => line.startsWith("STOPPING")),
    );
  });

  test("never says READY when it does not get that far, and its tasks do not see the socket", async () => {
    await using folder = await temporaryFolder();
    await using socket = await notifySocket(folder.file("notify"));
    const env = { ...process.env, NOTIFY_SOCKET: folder.file("notify"), WATCHDOG_USEC: "1000", WATCHDOG_PID: "1" };
    const manager = takeServiceManager(env, silentLogger);
    expect(env).not.toHaveProperty("NOTIFY_SOCKET");
    expect(env).not.toHaveProperty("WATCHDOG_USEC");
    // Another process is watched.
    expect(manager?.watchdog).toBeNull();
    await using worker = startWorker({
      app: join(root, "test", "apps", "acts.ts"),
      args: ["-P", "solo"],
      cwd: folder.path,
      env: { NOTIFY_SOCKET: folder.file("notify"), TQ_BROKER_URL: "redis://127.0.0.1:1/0" },
    });
    await worker.printed(/Cannot connect to/);
    await worker.term();
    expect(socket.datagrams().filter((line) => line.includes("READY"))).toEqual([]);
  });

  test("is heard through an abstract socket too, by whichever program there is", async () => {
    await using folder = await temporaryFolder();
    for (const program of ["systemd-notify", "python3", "perl"]) {
      const found = execFileSync("sh", ["-c", `command -v /usr/bin/${program} || command -v ${program} || true`], {
        encoding: "utf8",
      }).trim();
      if (found === "") continue;
      const bin = folder.file(`${program}-only`);
      execFileSync("mkdir", [bin]);
      symlinkSync(found, join(bin, program));
      for (const address of [folder.file(`${program}.sock`), `@tq-test-${process.pid}-${program}`]) {
        await using socket = await notifySocket(address);
        const manager = takeServiceManager({ PATH: bin, NOTIFY_SOCKET: address }, silentLogger);
        await manager?.notify("READY=1", 'STATUS=it\'s "up" %n');
        await until(() => socket.datagrams().includes('READY=1 STATUS=it\'s "up" %n'), {
          message: `${program} at ${address}`,
        });
      }
    }
    expect(existsSync(folder.file("perl-only"))).toBe(true);
  });

  test("says once in its log that nobody can be told, and works", async () => {
    const said: string[] = [];
    const logger = {
      ...silentLogger,
      warn: (message: unknown, ...rest: unknown[]) => void said.push([message, ...rest].join(" ")),
    };
    await using folder = await temporaryFolder();
    const manager = takeServiceManager({ PATH: folder.path, NOTIFY_SOCKET: "/nowhere" }, logger);
    await manager?.notify("READY=1");
    expect(said).toEqual([expect.stringContaining("none of systemd-notify, python3 and perl")]);
    const deaf = takeServiceManager({ PATH: "/usr/bin:/bin", NOTIFY_SOCKET: folder.file("nobody") }, logger);
    await deaf?.notify("READY=1");
    await deaf?.notify("STOPPING=1");
    expect(said).toHaveLength(2);
    expect(takeServiceManager({ PATH: "/usr/bin" }, logger)).toBeUndefined();
  });
});
