import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type Child, startChild } from "./child.ts";
import { freePort, greet } from "./ports.ts";
import { type TemporaryFolder, temporaryFolder } from "./tmp.ts";
import { until } from "./until.ts";

export interface RedisOptions {
  /** The append-only file: off by default; "always" and "everysec" survive `kill` and `restart`. */
  readonly appendfsync?: "always" | "everysec";
  /** A password every client must give. */
  readonly password?: string;
  /** Also listen on a Unix socket, `socketPath`. */
  readonly unixSocket?: boolean;
  /** Further arguments of redis-server. */
  readonly args?: readonly string[];
  /** The program; `TQ_TEST_REDIS_SERVER` by default, else the one on PATH. */
  readonly binary?: string;
}

/** A Redis server of our own, on a free port of the loopback interface. */
export interface RedisServer extends AsyncDisposable {
  readonly port: number;
  /** redis://127.0.0.1:port, with the password if there is one, without a database number. */
  readonly url: string;
  readonly socketPath: string;
  readonly pid: number;
  /** SIGKILL, and waits until the process is gone. */
  kill(): Promise<void>;
  /** SIGTERM, and waits until the process is gone. */
  stop(): Promise<void>;
  /** Starts it again on the same port and the same files after `kill` or `stop`. */
  restart(): Promise<void>;
}

/** Starts a private Redis and resolves when it answers; takes some 20 ms. Disposing it removes everything. */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const binary = options.binary ?? process.env.TQ_TEST_REDIS_SERVER ?? "redis-server";
  const folder = await temporaryFolder("tq-redis-");
  let port = 0;
  let child: Child | undefined;
  try {
    // Somebody may take the free port in the moment before Redis does.
    for (let attempt = 1; child === undefined; attempt++) {
      port = await freePort();
      child = await launch(binary, port, folder, options).catch((error: unknown) => {
        if (attempt >= 5 || !/in use/i.test(String(error))) throw error;
        return undefined;
      });
    }
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
  const auth = options.password === undefined ? "" : `:${encodeURIComponent(options.password)}@`;
  return {
    port,
    url: `redis://${auth}127.0.0.1:${port}`,
    socketPath: folder.file("redis.sock"),
    get pid() {
      return child?.pid ?? 0;
    },
    async kill() {
      await child?.kill();
    },
    async stop() {
      await child?.stop();
    },
    async restart() {
      await child?.stop();
      child = await launch(binary, port, folder, options);
    },
    async [Symbol.asyncDispose]() {
      await child?.kill();
      await folder[Symbol.asyncDispose]();
    },
  };
}

async function launch(binary: string, port: number, folder: TemporaryFolder, options: RedisOptions): Promise<Child> {
  await rm(folder.file("redis.sock"), { force: true });
  const child = startChild(
    binary,
    [
      "--port",
      String(port),
      "--bind",
      "127.0.0.1",
      "--dir",
      folder.path,
      "--save",
      "",
      "--appendonly",
      options.appendfsync === undefined ? "no" : "yes",
      ...(options.appendfsync === undefined ? [] : ["--appendfsync", options.appendfsync]),
      ...(options.password === undefined ? [] : ["--requirepass", options.password]),
      ...(options.unixSocket === true ? ["--unixsocket", join(folder.path, "redis.sock")] : []),
      ...(options.args ?? []),
    ],
    { cwd: folder.path },
  );
  try {
    await until(
      async () => {
        if (!child.running) return true;
        // "+PONG", or "-NOAUTH" where a password is needed; "-LOADING" while it still reads its file.
        return /^(\+PONG|-NOAUTH)/.test(String(await greet(port, "PING\r\n")));
      },
      { timeout: 20, interval: 0.005, message: "Redis to answer" },
    );
    if (!child.running) throw new Error(`${binary} did not start:\n${child.output}`);
    return child;
  } catch (error) {
    await child.kill();
    throw error;
  }
}
