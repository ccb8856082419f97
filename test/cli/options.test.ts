import { Command } from "commander";
import { expect, test } from "vitest";
import { parseConfigArguments } from "../../src/cli/config-arguments.ts";
import {
  addOptions,
  commaSeparated,
  instant,
  integer,
  jsonArray,
  jsonObject,
  limit,
  type OptionSpecs,
  oneOf,
  readOptions,
  secondsOrInstant,
} from "../../src/cli/options.ts";

const specs = {
  size: { flags: ["-s", "--pool-size"], metavar: "N", parse: integer(1) },
  events: { flags: ["-E", "--task-events", "--events"] },
  level: { flags: ["-l", "--level"], hiddenFlags: ["-L"], metavar: "[A|B]", parse: oneOf(["A", "B"]) },
  name: { flags: ["-n", "--name"], metavar: "TEXT", env: ["OTHER_NAME"] },
} as const satisfies OptionSpecs;

/** What the words mean to a command `tq work`, under these environment variables. */
function read(words: readonly string[], env: NodeJS.ProcessEnv = {}): object {
  const program = new Command("tq").exitOverride().configureOutput({ writeErr: () => undefined });
  const command = program.command("work").copyInheritedSettings(program);
  addOptions(command, specs);
  let values: object = {};
  command.action(() => {
    values = readOptions(command, specs, env);
  });
  program.parse(["work", ...words], { from: "user" });
  return values;
}

test("every spelling of an option gives the one value", () => {
  for (const flag of ["-E", "--task-events", "--events"]) expect(read([flag])).toEqual({ events: true });
  for (const flag of ["-l", "-L", "--level"]) expect(read([flag, "b"])).toEqual({ level: "B" });
  expect(read(["-s4"])).toEqual({ size: 4 });
  expect(read(["--pool-size=4", "-n", "x"])).toEqual({ size: 4, name: "x" });
  expect(read([])).toEqual({});
});

test("what the command line does not say the environment may", () => {
  expect(read([], { TQ_WORK_POOL_SIZE: "3", TQ_WORK_TASK_EVENTS: "yes", TQ_WORK_LEVEL: "a" })).toEqual({
    size: 3,
    events: true,
    level: "A",
  });
  expect(read(["-s", "4"], { TQ_WORK_POOL_SIZE: "3" })).toEqual({ size: 4 });
  expect(read([], { TQ_WORK_TASK_EVENTS: "0" })).toEqual({ events: false });
  expect(read([], { OTHER_NAME: "o", TQ_WORK_NAME: "n" })).toEqual({ name: "o" });
  expect(read([], { TQ_WORK_NAME: "" })).toEqual({});
});

test("a variable that cannot be read is named", () => {
  expect(() => read([], { TQ_WORK_POOL_SIZE: "many" })).toThrow(
    "the environment variable TQ_WORK_POOL_SIZE='many' is invalid. Expected a whole number, 1 or more.",
  );
  expect(() => read([], { TQ_WORK_TASK_EVENTS: "perhaps" })).toThrow("Expected true or false.");
});

test("numbers, lists, words and JSON are read, and refused with what is expected", () => {
  expect(integer(0)("0")).toBe(0);
  for (const text of ["", "-1", "1.5", "1e99", "x"]) expect(() => integer(0)(text)).toThrow("whole number, 0 or more");
  expect(limit("0.5")).toBe(0.5);
  for (const text of ["0", "-1", "", "Infinity", "x"]) expect(() => limit(text)).toThrow(/number of seconds/);
  expect(commaSeparated("a, b,,c")).toEqual(["a", "b", "c"]);
  expect(oneOf(["INFO", "DEBUG"])("info")).toBe("INFO");
  expect(() => oneOf(["INFO", "DEBUG"])("x")).toThrow("Expected one of INFO, DEBUG.");
  expect(jsonArray("[1, [2]]")).toEqual([1, [2]]);
  expect(() => jsonArray('{"a":1}')).toThrow("Expected a JSON array");
  expect(() => jsonArray("[1")).toThrow("It is not JSON");
  expect(jsonObject('{"a":1}')).toEqual({ a: 1 });
  for (const text of ["[]", "null", "1"]) expect(() => jsonObject(text)).toThrow("Expected a JSON object");
});

test("instants are ISO 8601, in UTC unless they say otherwise", () => {
  const table: readonly (readonly [string, string])[] = [
    ["2026-01-31", "2026-01-31T00:00:00.000Z"],
    ["2026-01-31T12:30", "2026-01-31T12:30:00.000Z"],
    ["2026-01-31 12:30:05", "2026-01-31T12:30:05.000Z"],
    ["2026-01-31T12:30:05.123456Z", "2026-01-31T12:30:05.123Z"],
    ["2026-01-31T12:30:05+02:00", "2026-01-31T10:30:05.000Z"],
    ["2026-01-31T12:30:05+0200", "2026-01-31T10:30:05.000Z"],
    ["2026-01-31T12:30:05-03", "2026-01-31T15:30:05.000Z"],
  ];
  for (const [text, meant] of table) expect(instant(text).toISOString()).toBe(meant);
  for (const text of ["", "tomorrow", "2026-13-01", "12:30", "2026-01-31T25:00"]) {
    expect(() => instant(text)).toThrow("Expected an instant in ISO 8601");
  }
  expect(secondsOrInstant("10.5")).toBe(10.5);
  expect(secondsOrInstant("2026-01-31")).toEqual(new Date(Date.UTC(2026, 0, 31)));
});

test("settings after the options are read as Celery reads them", () => {
  expect(
    parseConfigArguments(
      [
        "worker.prefetch_multiplier=1",
        "TASK_DEFAULT_QUEUE=(str)hi",
        ".concurrency=(int)3",
        "taskAcksLate=yes",
        'task_routes=(dict){"a.*": {"queue": "q=1"}}',
        "enable_utc=(bool)off",
        'accept_content=(list)["json"]',
      ],
      "worker",
    ),
  ).toEqual({
    workerPrefetchMultiplier: "1",
    taskDefaultQueue: "hi",
    workerConcurrency: 3,
    taskAcksLate: "yes",
    taskRoutes: { "a.*": { queue: "q=1" } },
    enableUtc: false,
    acceptContent: ["json"],
  });
});

test("a setting that cannot be read says why", () => {
  const refused = (word: string, reason: RegExp): void => {
    expect(() => parseConfigArguments([word], "worker")).toThrow(reason);
    expect(() => parseConfigArguments([word], "worker")).toThrow(
      /^Unable to parse extra configuration from command line\./,
    );
  };
  refused("loose", /"loose" is not of the form key=value/);
  refused("=1", /not of the form key=value/);
  refused(
    "worker.prefetch_multiplyer=1",
    /no setting worker_prefetch_multiplyer; did you mean worker_prefetch_multiplier\?/,
  );
  refused("worker.concurrency=(int)x", /x in .* is no number/);
  refused("task_routes=(json){", /is not JSON/);
  refused("worker.concurrency=(complex)1", /no type \(complex\)/);
});
