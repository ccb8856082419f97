import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { until } from "../helpers/until.ts";

const root = new URL("../..", import.meta.url).pathname;
const bin = join(root, "bin/tq.js");

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

let cache: string;
let cwd: string;
const running = new Set<ChildProcess>();

beforeAll(() => {
  cache = mkdtempSync(join(tmpdir(), "tq-cache-"));
});

afterAll(() => {
  rmSync(cache, { recursive: true });
});

beforeEach(() => {
  cwd = realpathSync(mkdtempSync(join(tmpdir(), "tq-cli-")));
});

afterEach(async () => {
  for (const child of running) child.kill("SIGKILL");
  await until(() => running.size === 0, { message: "every process to end" });
  rmSync(cwd, { recursive: true });
});

/** Files of a project that has tq installed. */
function project(files: Readonly<Record<string, string>>): void {
  mkdirSync(join(cwd, "node_modules"), { recursive: true });
  symlinkSync(root, join(cwd, "node_modules/tq"));
  for (const [path, text] of Object.entries({ "package.json": '{"type":"module"}', ...files })) {
    mkdirSync(dirname(join(cwd, path)), { recursive: true });
    writeFileSync(join(cwd, path), text);
  }
}

function start(args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
  const child = spawn(process.execPath, [bin, ...args], {
    cwd,
    env: { PATH: process.env.PATH, HOME: cwd, XDG_CACHE_HOME: cache, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.add(child);
  child.once("close", () => running.delete(child));
  return child;
}

async function tq(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  const child = start(args, env);
  const [out, err] = [collect(child.stdout), collect(child.stderr)];
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, stdout: out(), stderr: err() };
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  let text = "";
  stream?.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  return () => text;
}

const store = 'broker: "sqlite://./tq.db", backend: "sqlite://./tq.db"';

const proj = {
  "proj/app.ts": `import { Tq } from "tq";
    enum Names { Main = "proj" }
    export const app = new Tq(Names.Main, { ${store}, include: ["./tasks.ts"] });`,
  "proj/tasks.ts": `import { app } from "./app.ts";
    export const add = app.task("proj.tasks.add", (x: number, y: number) => x + y);
    export const fail = app.task("proj.tasks.fail", () => { throw new RangeError("out of range"); });`,
};

describe("tq", () => {
  test("alone prints its help", async () => {
    const { code, stdout, stderr } = await tq([]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatchSnapshot();
    expect((await tq(["--help"])).stdout).toBe(stdout);
  });

  test("--version prints the version", async () => {
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
    expect(await tq(["--version"])).toEqual({ code: 0, stdout: `${version} (first light)\n`, stderr: "" });
  });

  test.each(["worker", "call", "result", "purge", "report"])("%s --help is complete", async (name) => {
    const { code, stdout, stderr } = await tq([name, "--help"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatchSnapshot();
    expect((await tq(["help", name])).stdout).toBe(stdout);
  });
});

describe("a command line that cannot be understood ends with code 2 and says why:", () => {
  const table: readonly (readonly [args: readonly string[], said: string])[] = [
    [["wroker"], "Error: unknown command 'wroker'\n(Did you mean worker?)\nTry 'tq --help' for help.\n"],
    [
      ["worker", "--concurency", "4"],
      "Error: unknown option '--concurency'\n(Did you mean --concurrency?)\nTry 'tq worker --help' for help.\n",
    ],
    [
      ["worker", "-c", "four"],
      "Error: option '-c, --concurrency <concurrency>' argument 'four' is invalid. " +
        "Expected a whole number, 1 or more.\nTry 'tq worker --help' for help.\n",
    ],
    [
      ["worker", "-l", "loud"],
      "Error: option '-l, --loglevel <loglevel>' argument 'loud' is invalid. " +
        "Expected one of DEBUG, INFO, WARNING, ERROR, CRITICAL, FATAL.\nTry 'tq worker --help' for help.\n",
    ],
    [["result"], "Error: missing required argument 'TASK_ID'\nTry 'tq result --help' for help.\n"],
    [
      ["worker", "--", "nonsense"],
      'Error: Unable to parse extra configuration from command line.\nReason: "nonsense" is not of the form key=value\n',
    ],
    [
      ["-A", "nope", "worker"],
      "Error: Unable to load the tq application.\nThe module nope was not found. Looked in CWD for nope.*, nope/index.*, nope/app.*, nope/tq.*, nope/celery.*.\n",
    ],
    [
      ["--workdir", "/nowhere", "report"],
      "Error: option '--workdir' argument '/nowhere' is invalid. There is no such folder.\nTry 'tq --help' for help.\n",
    ],
  ];
  test.each(table)("%j", async (args, said) => {
    const { code, stdout, stderr } = await tq(args);
    expect({ code, stdout, stderr: stderr.replaceAll(cwd, "CWD") }).toEqual({ code: 2, stdout: "", stderr: said });
  });
});

test("arguments that are not JSON are refused, with what is wrong with them", async () => {
  const { code, stderr } = await tq(["call", "x", "-a", "2, 2"]);
  expect(code).toBe(2);
  expect(stderr).toMatch(/^Error: option '-a, --args <args>' argument '2, 2' is invalid\. It is not JSON: \w+/);
});

test("a project that keeps something open does not keep the command from ending", async () => {
  project({
    "proj.ts": `import { Tq } from "tq"; export const app = new Tq("proj", { ${store} }); setInterval(() => undefined, 1000);`,
  });
  expect((await tq(["-A", "proj", "call", "x"])).code).toBe(0);
});

describe("an app that cannot be loaded", () => {
  test("is one message without a stack", async () => {
    project({ "proj.ts": 'import "tq";\n\nthrow new Error("no database");' });
    const { code, stderr } = await tq(["-A", "proj", "call", "x"]);
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: "Error: Unable to load the tq application.\nWhile loading proj.ts: no database (proj.ts:3:7)\n",
    });
  });

  test.each([
    ["--traceback", ["--traceback"], {}],
    ["TQ_TRACEBACK", [], { TQ_TRACEBACK: "1" }],
  ])("shows stack and cause with %s", async (_name, flags, env) => {
    project({ "proj.ts": 'throw new Error("no database");' });
    const { code, stderr } = await tq(["-A", "proj", ...flags, "call", "x"], env as Record<string, string>);
    expect(code).toBe(2);
    expect(stderr).toMatch(/AppLoadError: [\s\S]*\n {4}at [\s\S]*caused by: Error: no database\n {4}at .*proj\.ts:1/);
  });

  test("by a wrong setting is the setting's own message", async () => {
    project({
      "proj.ts": `import { Tq } from "tq"; export const app = new Tq("proj", { ${store}, workerConcurrency: -1 });`,
    });
    const { code, stderr } = await tq(["-A", "proj", "report"]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^Error: .*worker_?[cC]oncurrency.*-1/);
    expect(stderr).not.toContain("    at ");
  });
});

test("an app in TypeScript, with enums, gets the running installation of tq and no other", async () => {
  project({
    ...proj,
    "check.ts": `import { Tq } from "tq"; import { Tq as Running } from ${JSON.stringify(join(root, "dist/index.js"))};
      enum Kind { A } export const app = new Tq("proj", { ${store} }); console.log("same:" + (Tq === Running) + Kind.A);`,
  });
  const { code, stdout } = await tq(["-A", "check", "report"]);
  expect(code).toBe(0);
  expect(stdout).toContain("same:true0");
});

test("-A may stand after the command, and come from the environment", async () => {
  project(proj);
  for (const [args, env] of [
    [["-A", "proj", "report"], {}],
    [["report", "-A", "proj"], {}],
    [["report", "--app=proj.app:app"], {}],
    [["report"], { TQ_APP: "proj" }],
    [["report"], { CELERY_APP: "proj" }],
  ] as const) {
    const { code, stdout } = await tq(args, env);
    expect(code).toBe(0);
    expect(stdout).toContain(`app      -> proj (${join(cwd, "proj/app.ts")})`);
  }
});

test("the report tells versions, transports and settings, and no secrets", async () => {
  project({
    "proj.ts": `import { Tq } from "tq"; export const app = new Tq("proj", {
      broker: "redis://:hunter2@localhost:1/0", backend: "redis://user:hunter2@localhost:1/1", redisPassword: "hunter2", resultExpires: 60 });`,
  });
  const { code, stdout } = await tq(["report", "-A", "proj"]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^\nsoftware -> tq:\d.* node:/);
  expect(stdout).toContain("settings -> transport:redis://:**@localhost:1/0 results:redis://user:**@localhost:1/1");
  expect(stdout).toContain("result_expires: 60");
  expect(stdout).toContain('redis_password: "********"');
  expect(stdout).not.toContain("hunter2");
});

test("without -A the settings are those of tq.config, and -b is stronger", async () => {
  project({
    "tq.config.ts": `export default { ${store.replace("broker", "brokerUrl").replace("backend", "resultBackend")}, resultExpires: 77 };`,
  });
  expect((await tq(["report"])).stdout).toContain("result_expires: 77");
  expect((await tq(["report", "-b", "sqlite://./other.db"])).stdout).toContain("transport:sqlite://./other.db");
  writeFileSync(join(cwd, "mine.json"), '{"resultExpires": 78}');
  expect((await tq(["report", "--config", "mine.json"])).stdout).toContain("result_expires: 78");
});

test("a broker that cannot be reached ends with code 69 and its address without the password", async () => {
  project({
    "proj.ts": `import { Tq } from "tq"; export const app = new Tq("proj", {
      broker: "redis://:hunter2@127.0.0.1:1/0", backend: "disabled://", taskPublishRetry: false });`,
  });
  const { code, stderr } = await tq(["-A", "proj", "call", "x"]);
  expect(code).toBe(69);
  expect(stderr).toMatch(/^Error: .*127\.0\.0\.1:1/);
  expect(stderr).not.toContain("hunter2");
});

describe("with a store on disk", () => {
  test("call prints an id, purge asks and erases, and scripts can tell what happened", {
    timeout: 120_000,
  }, async () => {
    project(proj);
    const call = await tq(["-A", "proj", "call", "proj.tasks.add", "-a", "[2, 2]"]);
    expect(call).toMatchObject({ code: 0, stderr: "" });
    expect(call.stdout).toMatch(/^[0-9a-f-]{36}\n$/);
    await tq(["-A", "proj", "call", "proj.tasks.add", "-a", "[2]", "-k", '{"y": 3}', "--queue", "other"]);

    const refused = await tq(["-A", "proj", "purge"]);
    expect(refused.code).toBe(1);
    expect(refused.stdout).toBe("");
    expect(refused.stderr).toMatch(/^WARNING: This will remove all tasks from queue: celery\.\n {9}There is no undo/);
    expect(refused.stderr).toMatch(/Aborted!\n$/);

    expect(await tq(["-A", "proj", "purge", "-f", "-X", "celery"])).toEqual({ code: 0, stdout: "", stderr: "" });
    expect((await tq(["-A", "proj", "purge", "-f"])).stdout).toBe("Purged 1 message from 1 known task queue.\n");
    expect((await tq(["-A", "proj", "purge", "-f"])).stdout).toBe("No messages purged from 1 queue.\n");
    expect((await tq(["-A", "proj", "purge", "-f", "-Q", "celery,other"])).stdout).toBe(
      "Purged 1 message from 2 known task queues.\n",
    );
  });

  test("a worker runs what call sends, result prints it, and TERM ends it with code 0", {
    timeout: 120_000,
  }, async () => {
    project(proj);
    const logfile = join(cwd, "w1.log");
    const worker = start([
      ...["-A", "proj", "worker", "-l", "INFO", "-c", "1", "-n", "w1@%h", "-f", "%n%I.log", "--pidfile", "%n.pid"],
      ...["--", "worker.prefetch_multiplier=2"],
    ]);
    const banner = collect(worker.stdout);
    const log = (): string => readFileSync(logfile, "utf8");
    await until(() => log().includes("ready."), { timeout: 20, message: "the worker to be ready" });
    expect(banner()).toMatch(
      /^w1@\S+ v\S+ \(first light\)\n[\s\S]*\[tasks\]\n {2}\. proj\.tasks\.add\n {2}\. proj\.tasks\.fail\n/,
    );
    expect(log()).toMatch(/^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: INFO\/MainProcess\] Connected to sqlite:\/\//m);
    expect(Number(readFileSync(join(cwd, "w1.pid"), "utf8"))).toBe(worker.pid);

    const second = await tq(["-A", "proj", "worker", "-P", "solo", "-n", "w1@%h", "--pidfile", "%n.pid"]);
    expect(second.code).toBe(73);
    expect(second.stderr).toContain(`Seems we're already running? (pid: ${worker.pid})`);

    const id = (await tq(["-A", "proj", "call", "proj.tasks.add", "-a", "[2, 2]"])).stdout.trim();
    expect(await tq(["-A", "proj", "result", id, "--timeout", "20"])).toEqual({ code: 0, stdout: "4\n", stderr: "" });

    const failing = (await tq(["-A", "proj", "call", "proj.tasks.fail"])).stdout.trim();
    const failed = await tq(["-A", "proj", "result", failing, "--timeout", "20"]);
    expect(failed).toMatchObject({ code: 1, stdout: "" });
    expect(failed.stderr).toMatch(/RangeError: .*out of range/);
    expect((await tq(["-A", "proj", "result", id], { TQ_TRACEBACK: "1" })).stdout).toBe("4\n");
    const traceback = await tq(["-A", "proj", "result", failing, "--traceback"]);
    expect(traceback.code).toBe(0);
    expect(traceback.stdout).toMatch(/RangeError: out of range\n.*tasks\.ts/);

    const never = await tq(["-A", "proj", "result", "no-such-id", "--timeout", "0.1"]);
    expect(never).toMatchObject({ code: 1, stdout: "" });
    expect(never.stderr).toMatch(/^Error: /);

    const ended = new Promise<number | null>((resolve) => worker.once("close", resolve));
    worker.kill("SIGTERM");
    expect(await ended).toBe(0);
    expect(() => readFileSync(join(cwd, "w1.pid"))).toThrow(/ENOENT/);
  });
});
