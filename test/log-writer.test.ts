import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ImproperlyConfigured } from "../src/errors.ts";
import { describeError, type LoggerOptions, type RootLogger, silentLogger } from "../src/log.ts";
import { createLogger } from "../src/log-writer.ts";

let folder: string;
let file: string;
const opened: RootLogger[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tq-log-"));
  file = join(folder, "worker.log");
});

afterEach(() => {
  for (const logger of opened.splice(0)) logger.close();
  rmSync(folder, { recursive: true });
});

function open(options: LoggerOptions = {}): RootLogger {
  const logger = createLogger({ level: "INFO", destination: file, ...options });
  opened.push(logger);
  return logger;
}

const written = (): string => readFileSync(file, "utf8");
const withoutTime = (): string => written().replace(/^\[[^:]*:[^:]*:[^:]*: /gm, "[TIME: ");

test("a line looks as Celery's does, in local time with milliseconds after a comma", () => {
  const before = new Date();
  open().info("tq@host ready.");
  const match = /^\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}): INFO\/MainProcess\] tq@host ready\.\n$/.exec(written());
  expect(match).not.toBeNull();
  const printed = new Date(`${match?.[1]?.replace(" ", "T")}.${match?.[2]}`).getTime();
  expect(printed).toBeGreaterThanOrEqual(before.getTime());
  expect(printed).toBeLessThanOrEqual(Date.now());
});

test("levels have Python's names", () => {
  const logger = open({ level: "debug" });
  logger.debug("1");
  logger.info("2");
  logger.warn("3");
  logger.error("4");
  logger.fatal("5");
  expect(withoutTime()).toBe(
    ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
      .map((name, n) => `[TIME: ${name}/MainProcess] ${n + 1}\n`)
      .join(""),
  );
});

test("WARNING is the default level, and what is below it costs nothing and says nothing", () => {
  const logger = createLogger({ destination: file });
  opened.push(logger);
  expect(logger.isLevelEnabled("info")).toBe(false);
  expect(logger.info).toBe(logger.debug);
  logger.info("not this");
  logger.warn("this");
  expect(withoutTime()).toBe("[TIME: WARNING/MainProcess] this\n");
});

test("a level is named in any case, and another word is refused with the words there are", () => {
  for (const level of ["DEBUG", "info", "Warning", "ERROR", "critical", "FATAL"]) open({ level });
  expect(() => open({ level: "loud" })).toThrow(
    new ImproperlyConfigured('log level must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL, FATAL, got: "loud"'),
  );
});

test("a parent can speak for its children", () => {
  const logger = open();
  logger.info({ processName: "ForkPoolWorker-1" }, "one call");
  logger.child({ processName: "ForkPoolWorker-2" }).info("a child logger");
  logger.child({ processName: "ForkPoolWorker-2" }).child({ queue: "celery" }).info("its child");
  logger.child({ processName: "ForkPoolWorker-2" }).info({ processName: "ForkPoolWorker-3" }, "the call wins");
  expect(withoutTime().split("\n").slice(0, -1)).toEqual([
    "[TIME: INFO/ForkPoolWorker-1] one call",
    "[TIME: INFO/ForkPoolWorker-2] a child logger",
    "[TIME: INFO/ForkPoolWorker-2] its child",
    "[TIME: INFO/ForkPoolWorker-3] the call wins",
  ]);
});

test("lines of a task carry its name and id", () => {
  const logger = open({ processName: "ForkPoolWorker-1" });
  logger.info({ task: true, taskName: "proj.tasks.add", taskId: "9c93" }, "Adding 2 + 2");
  logger.info({ task: true }, "nobody's");
  logger.info({ taskName: "proj.tasks.add", taskId: "9c93" }, "about a task, not by it");
  expect(withoutTime().split("\n").slice(0, -1)).toEqual([
    "[TIME: INFO/ForkPoolWorker-1] proj.tasks.add[9c93]: Adding 2 + 2",
    "[TIME: INFO/ForkPoolWorker-1] ???[???]: nobody's",
    "[TIME: INFO/ForkPoolWorker-1] about a task, not by it",
  ]);
});

test("an error is printed below its line, with its causes", () => {
  const error = new TypeError("outer", { cause: new Error("inner") });
  open().error({ err: error }, "Task raised unexpected");
  const text = withoutTime();
  expect(text).toMatch(/^\[TIME: ERROR\/MainProcess\] Task raised unexpected\nTypeError: outer\n {4}at /);
  expect(text).toMatch(/\ncaused by: Error: inner\n {4}at /);
});

test("a remote error is printed with the traceback of where it happened", () => {
  const error = Object.assign(new Error("boom"), {
    remoteTraceback: 'Traceback (most recent call last):\n  File "a.py"\n',
  });
  expect(describeError(error)).toBe('Traceback (most recent call last):\n  File "a.py"');
  open().error({ err: "Traceback: text" }, "failed");
  expect(withoutTime()).toBe("[TIME: ERROR/MainProcess] failed\nTraceback: text\n");
});

test("an error alone is message and stack", () => {
  open().error(new Error("boom"));
  expect(withoutTime()).toMatch(/^\[TIME: ERROR\/MainProcess\] boom\nError: boom\n {4}at /);
});

test("values are put into the message, and a percent sign of the message itself stays", () => {
  const logger = open();
  logger.info("%s of %d", "one", 2);
  logger.info("100% done");
  logger.info({ queue: "q" }, "%s", "with fields");
  expect(withoutTime().match(/\] .*/g)).toEqual(["] one of 2", "] 100% done", "] with fields"]);
});

test("worker_log_format is Python's, with widths", () => {
  open({ format: "%(levelname)-8s|%(process)07d|%(processName).4s|%(message)s|100%%" }).info("hello");
  expect(written()).toBe(`INFO    |${String(process.pid).padStart(7, "0")}|Main|hello|100%\n`);
});

test("a format with an unknown field is refused, naming it and those there are", () => {
  expect(() => open({ format: "%(levelname)s %(colour)s" })).toThrow(/one of asctime, levelname.*got: "%\(colour\)s"/);
  expect(() => open({ format: "%s" })).toThrow(ImproperlyConfigured);
});

test("format json is one document per line, with every field once", () => {
  const circular: { self?: unknown } = {};
  circular.self = circular;
  open({ format: "json" })
    .child({ processName: "ForkPoolWorker-1", node: "w1@host" })
    .warn({ processName: "ForkPoolWorker-2", size: 2n ** 70n, circular, err: new Error("boom") }, "late\nline");
  const lines = written().trimEnd().split("\n");
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0] as string)).toMatchObject({
    level: "WARNING",
    processName: "ForkPoolWorker-2",
    node: "w1@host",
    message: "late\nline",
    size: "1180591620717411303424",
    err: expect.stringContaining("Error: boom"),
  });
  expect(lines[0]?.match(/"processName"/g)).toHaveLength(1);
});

test("a file is appended to, not open to others for writing, and opened anew after a rotation", () => {
  open().info("before");
  const logger = open();
  renameSync(file, `${file}.1`);
  logger.info("still the old one");
  logger.reopen();
  logger.info("the new one");
  expect(readFileSync(`${file}.1`, "utf8").match(/\] .*/g)).toEqual(["] before", "] still the old one"]);
  expect(written().match(/\] .*/g)).toEqual(["] the new one"]);
  expect(statSync(file).mode & 0o133).toBe(0);
});

test("a file that cannot be opened is an error at once", () => {
  expect(() => open({ destination: join(folder, "none", "worker.log") })).toThrow(/ENOENT/);
});

test("a file is never coloured, even when colour was asked for", () => {
  open({ color: true }).error("plain");
  expect(withoutTime()).toBe("[TIME: ERROR/MainProcess] plain\n");
});

test("a reader that goes away does not end the process", () => {
  const source = new URL("../src/log-writer.ts", import.meta.url).pathname;
  const script = `
    const log = (await require("jiti").createJiti(${JSON.stringify(source)}, { fsCache: false }).import("./log-writer.ts"))
      .createLogger({ level: "info", destination: "stdout" });
    for (let n = 0; n < 20000; n++) log.info("line " + n);
    process.stderr.write("alive");`;
  const run = spawnSync("sh", ["-c", `"$0" -e "$1" | head -1`, process.execPath, `(async () => {${script}})()`], {
    encoding: "utf8",
    cwd: new URL("..", import.meta.url).pathname,
  });
  expect(run.stdout).toContain("line 0");
  expect(run.stderr).toContain("alive");
});

test("silentLogger says nothing and can have children", () => {
  silentLogger.child({ a: 1 }).error({ err: new Error("x") }, "nothing");
  expect(silentLogger.isLevelEnabled("fatal")).toBe(false);
});
