import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { root } from "../helpers/build.ts";
import { type Child, childrenOf, startChild } from "../helpers/child.ts";
import { amqpUrl, describeWith, freshRedis } from "../helpers/services.ts";
import { type TemporaryFolder, temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";

/** Never to be read anywhere. */
const secret = "hunter2";

const store = 'broker: "sqlite://./tq.db", backend: "sqlite://./tq.db"';
const app = (options: string, more = ""): string =>
  `import { Tq } from "tq";\nexport const app = new Tq("proj", { ${options} });\n${more}`;

const files: Readonly<Record<string, string>> = {
  "package.json": '{"type": "module"}',
  "ok.ts": app(store, 'app.task("t.add", (x: number, y: number) => x + y);'),
  "setting.ts": app(`${store}, workerConcurrency: "many" as never`),
  "unknown-setting.ts": app(`${store}, workerConcurency: 2`),
  "option.ts": app(store, 'app.task("t.add", { maxRetires: 3 } as never, () => 1);'),
  "option-value.ts": app(store, 'app.task("t.add", { timeLimit: "soon" } as never, () => 1);'),
  "limits.ts": app(store, 'app.task("t.add", { timeLimit: 1, softTimeLimit: 2 }, () => 1);'),
  "throws.ts": 'import "tq";\n\nthrow new Error("no database");\n',
  "throws-later.ts":
    'import { setTimeout as sleep } from "node:timers/promises";\nawait sleep(10);\nthrow new TypeError("no settings");\n',
  "imports-throwing.ts": `${app(store)}\nawait import("./throws-later.ts");\n`,
  "throws-text.ts": 'throw "just text";\n',
  "syntax.ts": 'export const app = new Tq("proj"\n',
  "empty.ts": "export const x = 1;\n",
  "two.ts": `import { Tq } from "tq";\nexport const one = new Tq("one", { ${store} });\nexport const other = new Tq("other", { ${store} });\n`,
  "includes-nothing.ts": app(`${store}, include: ["./nothing.ts"]`),
  "includes-throwing.ts": app(`${store}, include: ["./throws.ts"]`),
  "scheme.ts": app(`broker: "kafka://user:${secret}@host:1/", backend: "disabled://"`),
  "results.ts": app(`broker: "sqlite://./tq.db", backend: "mongodb://user:${secret}@host/db"`),
  "port.ts": app(`broker: "redis://:${secret}@localhost:99999/0", backend: "disabled://"`),
};

async function project(): Promise<TemporaryFolder> {
  const folder = await temporaryFolder();
  await mkdir(folder.file("node_modules"));
  await symlink(root, folder.file("node_modules", "tq"));
  for (const [name, text] of Object.entries(files)) await writeFile(folder.file(name), text);
  return folder;
}

function tq(folder: TemporaryFolder, args: readonly string[], env: Readonly<Record<string, string>> = {}): Child {
  const clean = { PATH: process.env.PATH, HOME: folder.path, TQ_TEST_FILE: process.env.TQ_TEST_FILE, NO_COLOR: "1" };
  return startChild(process.execPath, [join(root, "bin", "tq.js"), ...args], {
    cwd: folder.path,
    env: { ...clean, ...env },
  });
}

/** Command line, what it says, and its exit code: 2 unless told otherwise. */
type Mistake = readonly [args: readonly string[], says: RegExp, code?: number];

const worker = (name: string, ...args: readonly string[]): readonly string[] => [
  "-A",
  name,
  "worker",
  "-c",
  "1",
  ...args,
];

const mistakes: Readonly<Record<string, Mistake>> = {
  "a setting of a wrong type in the app": [
    worker("setting"),
    /^Error: workerConcurrency must be a whole number.*"many" from the app/,
  ],
  "a setting of a wrong type on the command line": [
    worker("ok", "--", "worker.concurrency=many"),
    /^Error: workerConcurrency must be .*"many" from the command line/,
  ],
  "an unknown setting on the command line": [
    worker("ok", "--", "worker_concurency=2"),
    /there is no setting worker_concurency; did you mean worker_concurrency\?/,
  ],
  "what is no setting on the command line": [worker("ok", "--", "nonsense"), /"nonsense" is not of the form key=value/],
  "an unknown option of a task": [
    worker("option"),
    /^Error: task t\.add: unknown option `maxRetires`; options are .*maxRetries/,
  ],
  "an option of a task of a wrong type": [
    worker("option-value"),
    /^Error: task t\.add: timeLimit must be a number, 0 or more, got: "soon"/,
  ],
  "limits of a task that cannot be": [
    worker("limits"),
    /^Error: task t\.add: softTimeLimit \(2\) must be less than or equal to timeLimit \(1\)/,
  ],
  "an unknown option": [
    worker("ok", "--concurency=3"),
    /^Error: unknown option '--concurency=3'\n\(Did you mean --concurrency\?\)/,
  ],
  "an unknown command": [["-A", "ok", "wroker"], /^Error: unknown command 'wroker'\n\(Did you mean worker\?\)/],
  "an option without its value": [
    ["-A", "ok", "worker", "-Q"],
    /^Error: option '-Q, --queues <queues>' argument missing/,
  ],
  "a number that is none": [
    ["-A", "ok", "worker", "-c", "none"],
    /^Error: option '-c, .* argument 'none' is invalid\. Expected a whole number, 1 or more/,
  ],
  "a log level there is none of": [worker("ok", "-l", "LOUD"), /^Error: option '-l, .* Expected one of DEBUG, INFO/],
  "a pool there is none of": [worker("ok", "-P", "fibers"), /^Error: option '-P, .* Expected one of prefork/],
  "a queue there is none of": [
    worker("ok", "-Q", "nope", "--", "task_create_missing_queues=0"),
    /queue 'nope' isn't\ndefined in the `task_queues` setting/,
  ],
  "a folder there is none of": [
    ["--workdir", "/nowhere/at/all", ...worker("ok")],
    /^Error: option '--workdir' .*There is no such folder/,
  ],
  "a pidfile in no folder": [
    worker("ok", "--pidfile", "/nowhere/at/all.pid"),
    /^Error: Cannot create the pidfile \/nowhere\/at\/all\.pid: there is no folder \/nowhere\/at/,
    73,
  ],
  "a log file in no folder": [worker("ok", "-f", "/nowhere/at/all.log"), /^Error: .*\/nowhere\/at\/all\.log/, 1],
  "a module of settings there is none of": [
    ["--config", "nowhere", ...worker("ok")],
    /^Error: The module nowhere was not found\. Looked in/,
  ],
  "an app that is not there": [
    worker("nowhere"),
    /^Error: Unable to load the tq application\.\nThe module nowhere was not found\. Looked in .* for nowhere\.\*/,
  ],
  "an attribute that is not there": [worker("ok:nope"), /Module 'ok' has no attribute 'nope'\. It exports: app\./],
  "a module without an app": [
    worker("empty"),
    /Module 'empty' \(empty\.ts\) has no app\. It exports: x\. Write: export const app = new Tq/,
  ],
  "a module with two apps": [worker("two"), /exports several apps: one, other\. Say which: -A two:one/],
  "an app that throws while loading": [
    worker("throws"),
    /^Error: Unable to load the tq application\.\nWhile loading throws\.ts: no database \(throws\.ts:3:\d+\)$/,
  ],
  "an app that throws after an await": [
    worker("throws-later"),
    /\nWhile loading throws-later\.ts: TypeError: no settings \(throws-later\.ts:\d+:\d+\)$/,
  ],
  "an app that awaits an import that throws": [
    worker("imports-throwing"),
    /\nWhile loading (imports-throwing|throws-later)\.ts: TypeError: no settings \(throws-later\.ts:/,
  ],
  "an app that throws what is no error": [
    worker("throws-text"),
    /\nWhile loading throws-text\.ts: just text was thrown$/,
  ],
  "an app that is no program": [worker("syntax"), /\nWhile loading syntax\.ts: .*syntax\.ts:\d+:\d+/],
  "an include that is not there": [
    worker("includes-nothing"),
    /^Error: The module \.\/nothing\.ts was not found\. Looked in/,
  ],
  "an include that throws": [
    worker("includes-throwing"),
    /^Error: While loading throws\.ts: no database \(throws\.ts:3/,
  ],
  "an include of the command line that is not there": [
    worker("ok", "-I", "not.there"),
    /^Error: The module not\.there was not found\. Looked in/,
  ],
  "a broker of no known kind": [
    worker("scheme"),
    /^Error: brokerUrl from the app: there is no broker for kafka:\/\/ in kafka:\/\/user:\*\*@host:1\/\. Those there are: sqlite/,
  ],
  "a broker of no known kind on the command line": [
    ["-b", `kafka://u:${secret}@h/`, ...worker("ok")],
    /^Error: brokerUrl from the command line: there is no broker for kafka/,
  ],
  "a broker of no known kind, for a call": [
    ["-A", "scheme", "call", "t.add"],
    /^Error: brokerUrl from the app: there is no broker for kafka/,
  ],
  "a broker of no known kind, for the report": [
    ["-A", "scheme", "report"],
    /^Error: brokerUrl from the app: there is no broker for kafka/,
  ],
  "a result store of no known kind": [
    worker("results"),
    /^Error: resultBackend from the app: there is no result backend for mongodb:\/\/ in mongodb:\/\/user:\*\*@host\/db/,
  ],
  "a port there cannot be": [
    worker("port"),
    /^Error: brokerUrl from the app: the host and port of redis:\/\/:\*\*@localhost:99999\/0 cannot be read/,
  ],
  "what is no URL": [
    ["-b", "not a url", ...worker("ok")],
    /^Error: brokerUrl from the command line: "not a url" is not a URL/,
  ],
};

describe("a mistake", () => {
  test("is told in one message, with the exit code for it and without a stack", async () => {
    await using folder = await project();
    const problems: string[] = [];
    const check = async ([name, [args, says, code = 2]]: readonly [string, Mistake]): Promise<void> => {
      await using child = tq(folder, args);
      const exit = await child.exited;
      if (exit.code !== code) problems.push(`${name}: ends with ${exit.code}, not ${code}`);
      if (!says.test(child.output)) problems.push(`${name}: says ${child.output}`);
      if (/^ {4}at /m.test(child.output)) problems.push(`${name}: shows a stack: ${child.output}`);
      if (child.output.includes(secret)) problems.push(`${name}: shows the password: ${child.output}`);
      if (child.output.split("\nError:").length > 1)
        problems.push(`${name}: says more than one thing: ${child.output}`);
    };
    const left = Object.entries(mistakes);
    const takeTurns = async (): Promise<void> => {
      for (let next = left.shift(); next; next = left.shift()) await check(next);
    };
    await Promise.all([takeTurns(), takeTurns(), takeTurns()]);
    expect(problems.join("\n")).toBe("");
  }, 120_000);

  test("shows where it comes from with --traceback", async () => {
    await using folder = await project();
    await using child = tq(folder, ["--traceback", ...worker("throws")]);
    expect((await child.exited).code).toBe(2);
    expect(child.output).toMatch(
      /AppLoadError: [\s\S]*\n {4}at [\s\S]*caused by: Error: no database\n {4}at .*throws\.ts:3/,
    );
  });

  test("that may be somebody else's setting is a warning", async () => {
    await using folder = await project();
    await using child = tq(folder, worker("unknown-setting", "-l", "INFO"));
    await child.printed(/ ready\.$/);
    expect(child.output).toMatch(
      /WARNING\/MainProcess\] unknown setting "workerConcurency": did you mean workerConcurrency\?/,
    );
    expect((await child.stop()).code).toBe(0);
  });
});

/** What `ps` shows of a process and its children, and what they were given at birth, but for the first moment. */
async function titles(folder: TemporaryFolder, pid: number): Promise<string> {
  const ps = startChild("ps", ["-o", "args=", "-p", [pid, ...childrenOf(pid)].join(",")], { cwd: folder.path });
  await ps.exited;
  return ps.output;
}

describeWith("redis-server", "a password for Redis", () => {
  test("that is wrong is told again and again, while the worker waits for it to be mended", async () => {
    await using folder = await project();
    await using server = await freshRedis({ password: "the right one" });
    const url = `redis://:${secret}@127.0.0.1:${server.port}/0`;
    await using child = tq(folder, ["-b", url, ...worker("ok", "-l", "INFO")]);
    await child.printed(/Cannot connect to redis:\/\/:\*\*@127\.0\.0\.1:\d+\/0: .*WRONGPASS invalid username-password/);
    await child.printed(/Trying again in .* \(2\//);
    expect(await titles(folder, child.pid)).not.toContain(secret);
    expect((await child.stop()).code).toBe(0);
    expect(child.output).not.toContain(secret);
    expect(child.output).not.toMatch(/^ {4}at /m);
  });

  test("that is wrong ends the worker with 69 where it may not try again, and every other command", async () => {
    await using folder = await project();
    await using server = await freshRedis({ password: "the right one" });
    const url = `redis://:${secret}@127.0.0.1:${server.port}/0`;
    for (const args of [
      worker("ok", "--", "broker_connection_retry_on_startup=0"),
      worker("ok", "--", "broker_connection_max_retries=1"),
      ["-A", "ok", "call", "t.add", "-a", "[1, 2]"],
      ["-A", "ok", "purge", "-f"],
      ["-A", "ok", "--result-backend", url, "result", "some-id"],
    ]) {
      await using child = tq(folder, ["-b", url, ...args]);
      const { code } = await child.exited;
      expect([args, code]).toEqual([args, 69]);
      expect(child.output).toMatch(/^Error: .*WRONGPASS/m);
      expect(child.output).not.toContain(secret);
      expect(child.output).not.toMatch(/^ {4}at /m);
    }
  }, 60_000);

  test("that is right is nowhere to be read: banner, log, report, titles", async () => {
    await using folder = await project();
    await using server = await freshRedis({ password: secret });
    const url = `redis://:${secret}@127.0.0.1:${server.port}/0`;
    await using child = tq(folder, ["-b", url, "--result-backend", url, ...worker("ok", "-l", "DEBUG")]);
    await child.printed(/ ready\.$/);
    await until(async () => /-active-/.test(await titles(folder, child.pid)), { message: "the title of the worker" });
    expect(await titles(folder, child.pid)).not.toContain(secret);
    await using report = tq(folder, ["-A", "ok", "-b", url, "--result-backend", url, "report", "--"]);
    expect((await report.exited).code).toBe(0);
    expect(report.output).toMatch(/transport:redis:\/\/:\*\*@/);
    await using call = tq(folder, ["-A", "ok", "-b", url, "--result-backend", url, "call", "t.add", "-a", "[1, 2]"]);
    expect((await call.exited).code).toBe(0);
    await using result = tq(folder, ["-A", "ok", "-b", url, "--result-backend", url, "result", call.output.trim()]);
    expect([(await result.exited).code, result.output]).toEqual([0, "3"]);
    // The server goes away and comes back no more: errors have the URL in them.
    await server.kill();
    await child.printed(/Cannot connect to redis:\/\/:\*\*@/);
    expect((await child.stop()).code).toBe(0);
    expect(child.output + report.output + call.output + result.output).not.toContain(secret);
  }, 60_000);
});

describeWith("amqp", "a user of RabbitMQ", () => {
  test("that is wrong is told, and so is a virtual host there is none of", async () => {
    await using folder = await project();
    const address = new URL(amqpUrl()).host;
    for (const [url, says] of [
      [`amqp://nobody:${secret}@${address}//`, /Cannot connect to amqp:\/\/nobody:\*\*@.*check user name and password/],
      [
        `amqp://guest:guest@${address}/nowhere`,
        /Cannot connect to amqp:\/\/guest:\*\*@.*\/nowhere: .*the virtual host does not exist or this user may not enter it/,
      ],
    ] as const) {
      await using child = tq(folder, ["-b", url, ...worker("ok", "-l", "INFO")]);
      await child.printed(says);
      await child.printed(/Trying again in .* \(1\//);
      expect(await titles(folder, child.pid)).not.toContain(secret);
      expect((await child.stop()).code).toBe(0);
      expect(child.output).not.toMatch(/hunter2|guest:guest/);
      expect(child.output).not.toMatch(/^ {4}at /m);
    }
    await using call = tq(folder, ["-A", "ok", "-b", `amqp://nobody:${secret}@${address}//`, "call", "t.add"]);
    expect((await call.exited).code).toBe(69);
    expect(call.output).toMatch(/^Error: .*check user name and password/);
    expect(call.output).not.toContain(secret);
  }, 60_000);
});
