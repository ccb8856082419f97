import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { type Child, startChild } from "./child.ts";
import { freePort, greet } from "./ports.ts";
import { type TemporaryFolder, temporaryFolder } from "./tmp.ts";
import { until } from "./until.ts";

/** How to reach a node with rabbitmqctl: what `startRabbit` gives and `control` takes. */
export interface RabbitControl {
  readonly ctl: string;
  readonly env: Readonly<Record<string, string>>;
}

/** A RabbitMQ node of our own: own port, own epmd, own cookie, own database. */
export interface RabbitServer extends AsyncDisposable {
  readonly port: number;
  /** amqp://guest:guest@127.0.0.1:port, the default virtual host. */
  readonly url: string;
  readonly control: RabbitControl;
  /** A signal to the node's processes. */
  signal(name: NodeJS.Signals): void;
  /** SIGKILL to the node, and waits until it is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same port and the same database after `kill`. */
  restart(): Promise<void>;
}

export interface RabbitOptions {
  /** The server script; `TQ_TEST_RABBITMQ_SERVER` by default. Not Debian's wrapper, which wants another user. */
  readonly binary?: string;
}

/** Starts a private RabbitMQ and resolves when it answers AMQP; takes some seconds. Disposing it removes everything. */
export async function startRabbit(options: RabbitOptions = {}): Promise<RabbitServer> {
  const binary = options.binary ?? process.env.TQ_TEST_RABBITMQ_SERVER;
  if (binary === undefined) throw new Error("TQ_TEST_RABBITMQ_SERVER does not name a rabbitmq-server");
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOn(binary);
    } catch (error) {
      // Somebody may take a free port in the moment before RabbitMQ does.
      if (attempt >= 3 || !/already_used|eaddrinuse/i.test(String(error))) throw error;
    }
  }
}

async function startOn(binary: string): Promise<RabbitServer> {
  const folder = await temporaryFolder("tq-rabbit-");
  const [port, distPort, epmdPort] = [await freePort(), await freePort(), await freePort()];
  const env = await prepare(folder, port, distPort, epmdPort);
  let child: Child;
  try {
    child = await launch(binary, env, port, folder);
  } catch (error) {
    await removeEpmd(epmdPort);
    await folder[Symbol.asyncDispose]();
    throw error;
  }
  return {
    port,
    url: `amqp://guest:guest@127.0.0.1:${port}`,
    control: { ctl: join(dirname(binary), "rabbitmqctl"), env },
    signal: (name) => child.signalGroup(name),
    async kill() {
      await child.kill();
    },
    async restart() {
      await child.kill();
      child = await launch(binary, env, port, folder);
    },
    async [Symbol.asyncDispose]() {
      await child.kill();
      await removeEpmd(epmdPort);
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Runs an Erlang expression in a node and gives what it prints; one call costs about a second. */
export async function evalInRabbit(control: RabbitControl, expression: string): Promise<string> {
  const env = { ...process.env, ...control.env };
  const { stdout } = await promisify(execFile)(control.ctl, ["eval", expression], { env, timeout: 30_000 });
  return stdout.trim();
}

async function prepare(
  folder: TemporaryFolder,
  port: number,
  distPort: number,
  epmdPort: number,
): Promise<Record<string, string>> {
  await mkdir(folder.file("home"), { mode: 0o700 });
  await writeFile(folder.file("home", ".erlang.cookie"), randomBytes(16).toString("hex"), { mode: 0o400 });
  await writeFile(
    folder.file("rabbitmq.conf"),
    [
      `listeners.tcp.1 = 127.0.0.1:${port}`,
      "log.console = false",
      "log.file.level = info",
      // The machine's memory and disk are not what is tested here.
      "vm_memory_high_watermark.relative = 0.9",
      "disk_free_limit.absolute = 50MB",
      "",
    ].join("\n"),
  );
  await writeFile(folder.file("enabled_plugins"), "[].\n");
  await writeFile(folder.file("env.conf"), "");
  return {
    HOME: folder.file("home"),
    RABBITMQ_NODENAME: `tq${epmdPort}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_DIST_PORT: String(distPort),
    RABBITMQ_CONFIG_FILE: folder.file("rabbitmq.conf"),
    RABBITMQ_CONF_ENV_FILE: folder.file("env.conf"),
    RABBITMQ_ENABLED_PLUGINS_FILE: folder.file("enabled_plugins"),
    RABBITMQ_MNESIA_BASE: folder.file("mnesia"),
    RABBITMQ_LOG_BASE: folder.file("log"),
    RABBITMQ_GENERATED_CONFIG_DIR: folder.file("config"),
    RABBITMQ_PID_FILE: folder.file("rabbit.pid"),
    // Two schedulers that do not spin: a node for tests must not eat the cores of the tests.
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
    ERL_EPMD_PORT: String(epmdPort),
    ERL_EPMD_ADDRESS: "127.0.0.1",
    ERL_CRASH_DUMP: folder.file("erl_crash.dump"),
  };
}

async function launch(
  binary: string,
  env: Record<string, string>,
  port: number,
  folder: TemporaryFolder,
): Promise<Child> {
  const child = startChild(binary, [], { env: { ...process.env, ...env }, cwd: folder.path });
  try {
    // The node opens its listeners last; a Connection.Start (class 10, method 10) means it serves.
    await until(async () => !child.running || (await greet(port, "AMQP\x00\x00\x09\x01"))?.[0] === 1, {
      timeout: 60,
      interval: 0.05,
      message: "RabbitMQ to answer",
    });
    if (!child.running) throw new Error(`${binary} did not start:\n${child.output}`);
    return child;
  } catch (error) {
    await child.kill();
    throw error;
  }
}

/**
 * The port mapper of Erlang leaves its parent's group when it starts; it is told by its own protocol
 * to go. It refuses while it has not noticed yet that the node is gone: told until nobody listens.
 */
async function removeEpmd(port: number): Promise<void> {
  await until(async () => (await greet(port, "\x00\x01k")) === undefined, { message: "epmd to be gone" });
}
