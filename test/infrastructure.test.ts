import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect, createServer } from "node:net";
import { describe, expect, test } from "vitest";
import { startProxy } from "./fault/proxy.ts";
import { childrenOf, isAlive, startChild } from "./helpers/child.ts";
import { watchLeaks } from "./helpers/leak-watch.ts";
import { greet } from "./helpers/ports.ts";
import { countTests, hiddenFailure } from "./helpers/report.ts";
import { describeWith, freshRedis, freshVhost, hasProc } from "./helpers/services.ts";
import { temporaryFolder } from "./helpers/tmp.ts";
import { until } from "./helpers/until.ts";

/** A server that answers every line with the same line. */
async function startEcho(): Promise<AsyncDisposable & { readonly url: string }> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.pipe(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("no address");
  return {
    url: `tcp://127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
}

const redis = async (port: number, command: string): Promise<string> => String(await greet(port, `${command}\r\n`));

describe("until", () => {
  test("gives the first value that is not falsy", async () => {
    let count = 0;
    expect(await until(() => (++count === 3 ? count : undefined))).toBe(3);
  });

  test("says what it waited for, and why the last look failed", async () => {
    const failing = until(
      () => {
        throw new Error("not there");
      },
      { timeout: 0.05, message: "a file" },
    );
    await expect(failing).rejects.toThrow("waited 0.05 s for a file");
    await expect(failing).rejects.toHaveProperty("cause.message", "not there");
  });
});

describe("the count of tests", () => {
  const ran = (status: string, ...states: readonly string[]) => ({
    status,
    assertionResults: states.map((state) => ({ status: state, ancestorTitles: ["over redis [needs redis]"] })),
  });

  test("is of tests, and names what was skipped for want of a service", () => {
    const counts = countTests({ testResults: [ran("failed", "passed", "failed", "skipped"), ran("passed", "todo")] });
    expect(counts).toEqual({ passed: 1, failed: 1, skipped: 2, wanting: ["over redis [needs redis]"] });
  });

  test("has a file that cannot be loaded, and hooks that fail, among the failures", () => {
    expect(countTests({ testResults: [ran("failed"), ran("failed", "passed")] })).toMatchObject({
      passed: 1,
      failed: 2,
    });
  });

  test("does not hide that nothing ran, or that the runner failed", () => {
    const none = countTests({ testResults: [] });
    expect(hiddenFailure(none, 0)).toBe("no test was found");
    expect(hiddenFailure({ ...none, passed: 5 }, 1)).toContain("code 1");
    expect(hiddenFailure({ ...none, passed: 5 }, 0)).toBeUndefined();
  });
});

describe("leaks", () => {
  test("are sockets, servers and timers that are still there", async () => {
    const watch = watchLeaks();
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const timer = setTimeout(() => undefined, 60_000);
    expect(watch.leftovers()).toEqual(expect.arrayContaining(["1 TCPServerWrap", "1 Timeout"]));
    clearTimeout(timer);
    server.close();
    await until(() => watch.leftovers().length === 0);
  });

  test.runIf(hasProc())("are processes, also those whose parents are gone, and they are killed", async () => {
    const watch = watchLeaks();
    // The shell ends at once and leaves a process that is nobody's child.
    const shell = spawn("sh", ["-c", "sleep 61 >/dev/null 2>&1 & echo $!"], {
      stdio: ["ignore", "pipe", "ignore"],
      detached: true,
    });
    const [pid] = (await once(shell.stdout, "data")) as [Buffer];
    await until(() => watch.leftovers().length === 1, { message: "the orphan" });
    expect(watch.leftovers()[0]).toBe(`process ${Number(pid)} (sleep 61)`);
    expect(await watch.settle(0)).toHaveLength(1);
    await until(() => !isAlive(Number(pid)), { message: "its end" });
  });
});

describe("a child", () => {
  test("is killed with its own children", async () => {
    const child = startChild("sh", ["-c", "sleep 62 & echo started; wait"]);
    await child.printed("started");
    const [grandchild = 0] = hasProc() ? childrenOf(child.pid) : [];
    expect(await child.kill()).toEqual({ code: null, signal: "SIGKILL" });
    if (grandchild) await until(() => !isAlive(grandchild), { message: "the grandchild's end" });
  });

  test("that ends before it prints what is awaited is an error with its output", async () => {
    const child = startChild("sh", ["-c", "echo too bad; exit 3"]);
    await expect(child.printed("ready")).rejects.toThrow(/code 3.*\n.*too bad/);
  });

  test("that cannot be started ends with what the system said", async () => {
    const child = startChild("/nonexistent/program", []);
    expect(await child.exited).toEqual({ code: 127, signal: null });
    expect(child.output).toContain("ENOENT");
  });
});

test("a temporary folder is for one user, and gone at the end", async () => {
  let path: string;
  {
    await using folder = await temporaryFolder();
    path = folder.path;
    expect(existsSync(path)).toBe(true);
  }
  expect(existsSync(path)).toBe(false);
});

describe("the proxy", () => {
  test("passes bytes on, cuts, and serves again", async () => {
    await using echo = await startEcho();
    await using proxy = await startProxy(echo.url);
    expect(await greet(proxy.port, "hello")).toEqual(Buffer.from("hello"));

    const open = connect(proxy.port, "127.0.0.1");
    open.on("error", () => undefined);
    await until(() => proxy.connections === 1);
    proxy.cut();
    await until(() => open.closed, { message: "the link to break" });
    expect(await greet(proxy.port, "hello")).toBeUndefined();

    proxy.restore();
    expect(await greet(proxy.port, "again")).toEqual(Buffer.from("again"));
  });

  test("stalls without losing anything", async () => {
    await using echo = await startEcho();
    await using proxy = await startProxy(echo.url);
    proxy.stall();
    const answer = greet(proxy.port, "held", 5);
    await until(() => proxy.connections === 1);
    expect(proxy.bytesToClient).toBe(0);
    proxy.restore();
    expect(await answer).toEqual(Buffer.from("held"));
  });

  test("swallows everything and answers nobody, and breaks those links when it is over", async () => {
    await using echo = await startEcho();
    await using proxy = await startProxy(echo.url);
    proxy.blackHole();
    expect(await greet(proxy.port, "lost", 0.1)).toBeUndefined();
    const open = connect(proxy.port, "127.0.0.1");
    open.on("error", () => undefined);
    open.write("swallowed");
    await until(() => proxy.connections >= 1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    proxy.restore();
    await until(() => open.closed, { message: "the link to break" });
    expect(await greet(proxy.port, "hello")).toEqual(Buffer.from("hello"));
  });
});

describeWith("redis-server", "a private Redis", () => {
  test.runIf(hasProc())("that is forgotten is found, although it writes over its environment", async () => {
    const watch = watchLeaks();
    await using server = await freshRedis();
    expect(watch.leftovers().join()).toContain(`process ${server.pid} (`);
    await server.stop();
    await until(() => watch.leftovers().length === 0, { message: "nothing to be left" });
  });

  test("behind a muted proxy does what it is told, and nobody hears of it", async () => {
    await using server = await freshRedis();
    await using proxy = await startProxy(server.url);
    proxy.mute();
    expect(await greet(proxy.port, "SET key value\r\n", 0.1)).toBeUndefined();
    expect(await redis(server.port, "GET key")).toContain("value");
  });

  test("is empty, alone, and forgets when killed", async () => {
    await using one = await freshRedis();
    await using two = await freshRedis();
    expect(one.port).not.toBe(two.port);
    expect(await redis(one.port, "SET key value")).toContain("OK");
    expect(await redis(two.port, "GET key")).toContain("$-1");
    await one.kill();
    await one.restart();
    expect(await redis(one.port, "GET key")).toContain("$-1");
  });

  test("with an append-only file remembers over kill -9", async () => {
    await using server = await freshRedis({ appendfsync: "always" });
    expect(await redis(server.port, "SET key value")).toContain("OK");
    await server.kill();
    expect(await greet(server.port, "PING\r\n")).toBeUndefined();
    await server.restart();
    expect(await redis(server.port, "GET key")).toContain("value");
  });
});

describeWith("vhost", "a virtual host", () => {
  test("is made in the shared RabbitMQ and removed from it", async () => {
    await using vhost = await freshVhost();
    expect(new URL(vhost.url).pathname).toBe(`/${vhost.name}`);
    expect(await greet(Number(new URL(vhost.url).port), "AMQP\x00\x00\x09\x01")).toBeDefined();
  });
});
