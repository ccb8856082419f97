import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { periodicEntry } from "../../src/app/periodic.ts";
import { beatBanner } from "../../src/beat/banner.ts";
import { crontab } from "../../src/beat/crontab.ts";
import { expandField } from "../../src/beat/crontab-field.ts";
import { createEntry, describeEntry } from "../../src/beat/entry.ts";
import { humanizeSeconds, Interval } from "../../src/beat/interval.ts";
import { advance, tick } from "../../src/beat/scheduler.ts";
import { createZone } from "../../src/util/zone.ts";
import { root } from "../helpers/build.ts";
import { celeryBin, describeWith } from "../helpers/services.ts";

const utc = createZone("UTC");
const minutes = { name: "minute", least: 0, most: 59 };
const hours = { name: "hour", least: 0, most: 23 };
const days = { name: "dayOfMonth", least: 1, most: 31 };
const months = { name: "monthOfYear", least: 1, most: 12 };
const weekdays = { name: "dayOfWeek", least: 0, most: 6 };
const at = (text: string): Date => new Date(text);

describe("a field of a crontab", () => {
  test.each([
    ["*/15", minutes, [0, 15, 30, 45]],
    ["1,13,30-33,50-59/2", minutes, [1, 13, 30, 31, 32, 33, 50, 52, 54, 56, 58]],
    ["*/3", days, [1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31]],
    ["*/2", months, [1, 3, 5, 7, 9, 11]],
    ["2-12/2", months, [2, 4, 6, 8, 10, 12]],
    ["*/3,8-17", hours, [0, 3, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 21]],
    ["22-2", hours, [0, 1, 2, 22, 23]],
    ["fri-mon", weekdays, [0, 1, 5, 6]],
    ["Sunday,thu", weekdays, [0, 4]],
    ["mar-May", months, [3, 4, 5]],
    [7, hours, [7]],
    [[30, 0], minutes, [0, 30]],
    [new Set([1, 2]), weekdays, [1, 2]],
  ])("%j stands for its numbers", (field, rule, numbers) => {
    expect(expandField(field, rule)).toEqual(numbers);
  });

  test.each([
    ["1,,2", minutes, "empty part"],
    ["*/", minutes, "empty filter"],
    ["-3", minutes, "negative numbers not supported"],
    ["7", weekdays, "Invalid end range in crontab dayOfWeek: 7 > 6."],
    ["0", days, "Invalid beginning range in crontab dayOfMonth: 0 < 1."],
    ["tomorrow", weekdays, "Invalid weekday literal 'tomorrow'"],
    [60, minutes, "Valid range is 0-59. '60' was found."],
    [[0, 24], hours, "Valid range is 0-23. '24' was found."],
    [1.5, hours, "Valid range is 0-23. '1.5' was found."],
    ["5/15", minutes, "a step needs a range"],
    ["*/0", minutes, "is not a number above 0"],
    [[], minutes, "no number at all"],
    [{}, minutes, "needs to be a number, a text or a list of numbers"],
  ])("%j is refused, with the reason", (field, rule, reason) => {
    expect(() => expandField(field as never, rule)).toThrow(reason);
  });
});

describe("a crontab", () => {
  test("has exactly five fields as one text, and is shown as Celery shows it", () => {
    expect(String(crontab("0 */3 * * mon"))).toBe("<crontab: 0 */3 * * mon (m/h/dM/MY/d)>");
    expect(() => crontab("* * * *")).toThrow("must have five fields");
    expect(() => crontab("* * * * * *")).toThrow("must have five fields");
  });

  test("that no day can fulfil says so", () => {
    expect(() => crontab({ dayOfMonth: 30, monthOfYear: 2 }).next(at("2026-01-01T00:00:00Z"), utc)).toThrow(
      "unable to rollover, time specification is probably invalid",
    );
    expect(
      crontab({ minute: 0, hour: 0, dayOfMonth: 29, monthOfYear: 2 }).next(at("2096-03-01T00:00:00Z"), utc),
    ).toEqual(at("2104-02-29T00:00:00Z"));
  });

  test("of a time the clocks skip runs as much later, of a time they show twice runs once", () => {
    const berlin = createZone("Europe/Berlin");
    const nightly = crontab({ minute: 30, hour: 2 });
    // 29 March 2026: from 02:00 to 03:00.
    expect(nightly.next(at("2026-03-28T12:00:00Z"), berlin)).toEqual(at("2026-03-29T01:30:00Z"));
    expect(nightly.next(at("2026-03-29T01:30:00Z"), berlin)).toEqual(at("2026-03-30T00:30:00Z"));
    // 25 October 2026: 02:30 comes twice.
    expect(nightly.next(at("2026-10-24T12:00:00Z"), berlin)).toEqual(at("2026-10-25T00:30:00Z"));
    expect(nightly.next(at("2026-10-25T00:30:00Z"), berlin)).toEqual(at("2026-10-26T01:30:00Z"));
    expect(nightly.next(at("2026-10-25T01:30:00Z"), berlin)).toEqual(at("2026-10-26T01:30:00Z"));
  });

  test("of every quarter of an hour goes on through both changes of the clocks", () => {
    const berlin = createZone("Europe/Berlin");
    const quarterly = crontab({ minute: "*/15" });
    for (const start of ["2026-03-29T00:00:00Z", "2026-10-24T23:00:00Z"]) {
      let now = at(start);
      for (let step = 1; step <= 16; step += 1) {
        now = quarterly.next(now, berlin);
        expect(now).toEqual(new Date(at(start).getTime() + step * 900_000));
      }
    }
  });
});

describeWith("celery", "a crontab beside Celery's", () => {
  test("runs at the same times, over a thousand schedules and instants, far from changes of the clocks", () => {
    let seed = 42;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((seed / 2_147_483_648) * below);
    };
    const pick = <Value>(values: readonly Value[]): Value => values[random(values.length)] as Value;
    const cases = Array.from({ length: 1_000 }, () => {
      const fields = {
        minute: pick(["*", "0", "*/15", "7,41", "50-10", "59"]),
        hour: pick(["*", "*", "0", "*/3", "22-2", "8-17/2", "23"]),
        day_of_week: pick(["*", "*", "*", "mon-fri", "sunday", "fri-mon", "0,3"]),
        day_of_month: pick(["*", "*", "*", "1", "31", "2-30/2", "1-7,15-21"]),
        month_of_year: pick(["*", "*", "*", "*/3", "2", "jan,jul", "12"]),
      };
      // January, June and December of some year: no zone below changes its clocks then.
      const month = pick(["01", "06", "12"]);
      const instant = Date.parse(`20${20 + random(15)}-${month}-01T00:00:00Z`) / 1_000 + random(27 * 86_400);
      return { fields, instant, zone: pick(["UTC", "Europe/London", "Asia/Kolkata", "America/New_York"]) };
    });
    const input = cases.map(({ fields, instant, zone }) => JSON.stringify([fields, instant, zone])).join("\n");
    const script = join(root, "test", "python", "crontabs.py");
    const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1" };
    const output = execFileSync(join(celeryBin(), "python"), [script], { input, encoding: "utf8", env });
    const theirs = output.trim().split("\n");
    const differences = cases.flatMap(({ fields, instant, zone }, index) => {
      const schedule = crontab({
        minute: fields.minute,
        hour: fields.hour,
        dayOfWeek: fields.day_of_week,
        dayOfMonth: fields.day_of_month,
        monthOfYear: fields.month_of_year,
      });
      let ours: string;
      try {
        ours = String(schedule.next(new Date(instant * 1_000), createZone(zone)).getTime() / 1_000);
      } catch {
        ours = "error";
      }
      const their = theirs[index]?.startsWith('"') ? "error" : theirs[index];
      return ours === their ? [] : [{ fields, at: new Date(instant * 1_000), zone, ours, their }];
    });
    expect(differences).toEqual([]);
  });
});

describe("an interval", () => {
  test("keeps its distance however late a run is sent, and makes up for a pause once", () => {
    const every = new Interval(10);
    expect(every.remaining(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:04Z"))).toBe(6);
    expect(every.ranAt(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:12Z"))).toEqual(at("2026-01-01T00:00:10Z"));
    expect(every.ranAt(at("2026-01-01T00:00:00Z"), at("2026-01-01T08:00:00Z"))).toEqual(at("2026-01-01T08:00:00Z"));
  });

  test("that is relative falls on whole intervals of the clock", () => {
    const hourly = new Interval(3_600, { relative: true });
    expect(hourly.remaining(at("2026-01-01T00:20:00Z"), at("2026-01-01T00:30:00Z"))).toBe(1_800);
  });

  test("is shown in Celery's words, and must be a number above 0", () => {
    expect(String(new Interval(2))).toBe("<freq: 2.00 seconds>");
    expect([0.5, 1, 60, 300, 5_400, 86_400].map(humanizeSeconds)).toEqual([
      "0.50 second",
      "1.00 second",
      "1.00 minute",
      "5.00 minutes",
      "1.50 hours",
      "1.00 day",
    ]);
    for (const seconds of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) expect(() => new Interval(seconds)).toThrow();
  });
});

describe("the scheduler", () => {
  const started = { lastRunAt: at("2026-01-01T00:00:00Z"), totalRunCount: 0 };
  const entry = (name: string, schedule: number | string) =>
    createEntry(name, { task: `t.${name}`, schedule }, started);
  const terms = { zone: utc, maxInterval: 300, startingDeadline: null };

  test("gives what is due, longest overdue first, and sleeps until the next, but never too long", () => {
    const entries = [entry("a", 10), entry("b", 5), entry("c", 60)];
    expect(tick(entries, at("2026-01-01T00:00:00Z"), terms)).toEqual({ due: [], sleep: 5 });
    const { due, sleep } = tick(entries, at("2026-01-01T00:00:12Z"), terms);
    expect(due.map(({ name }) => name)).toEqual(["b", "a"]);
    expect(sleep).toBe(48);
    expect(tick([entry("slow", 4_000)], at("2026-01-01T00:00:00Z"), terms).sleep).toBe(300);
    expect(tick([], at("2026-01-01T00:00:00Z"), terms)).toEqual({ due: [], sleep: 300 });
  });

  test("sends what was missed once, and not at all when its deadline has passed", () => {
    const daily = entry("daily", "0 4 * * *");
    const late = at("2026-01-03T05:00:00Z");
    expect(tick([daily], late, terms).due).toHaveLength(1);
    const after = advance(daily, late);
    expect(after).toMatchObject({ lastRunAt: late, totalRunCount: 1 });
    expect(tick([after], late, { ...terms, maxInterval: 1e9 })).toEqual({ due: [], sleep: 23 * 3_600 });
    expect(tick([daily], late, { ...terms, startingDeadline: 1_800 }).due).toEqual([]);
    expect(tick([daily], late, { ...terms, startingDeadline: 7_200 }).due).toHaveLength(1);
    // Intervals know no deadline.
    expect(tick([entry("often", 60)], late, { ...terms, startingDeadline: 1 }).due).toHaveLength(1);
  });

  test("refuses a wrong entry by its name and its key", () => {
    const refuse = (given: unknown, reason: string) =>
      expect(() => createEntry("nightly", given, started)).toThrow(reason);
    refuse({ schedule: 1 }, 'beatSchedule["nightly"].task must be the name of a task');
    refuse(
      { task: "t", schedule: 0 },
      'beatSchedule["nightly"].schedule: a schedule in seconds must be a number above 0',
    );
    refuse({ task: "t", schedule: "* * *" }, 'beatSchedule["nightly"].schedule: a crontab must have five fields');
    refuse({ task: "t" }, 'beatSchedule["nightly"].schedule must be seconds');
    refuse({ task: "t", schedule: 1, args: 2 }, 'beatSchedule["nightly"].args must be an array');
    refuse({ task: "t", schedule: 1, options: [] }, 'beatSchedule["nightly"].options must be an object');
    refuse("t", "must be an object such as");
  });

  test("shows an entry as Celery does", () => {
    const shown = createEntry("every-2", { task: "proj3.t", schedule: 2, args: [2], kwargs: { to: "x" } }, started);
    expect(describeEntry(shown)).toBe("<ScheduleEntry: every-2 proj3.t(2, to='x') <freq: 2.00 seconds>>");
  });
});

test("a periodic task is named by its call, takes arguments before those of its signature, and keeps its options", () => {
  const signature = {
    task: "proj.add",
    args: [2],
    kwargs: { debug: true },
    options: { queue: "slow" },
    subtask_type: null,
    immutable: false,
  };
  expect(periodicEntry(30, signature, { args: [1], kwargs: { to: "a" }, expires: 10 })).toEqual([
    "proj.add(1, 2, debug=True, to='a')",
    {
      task: "proj.add",
      schedule: 30,
      args: [1, 2],
      kwargs: { debug: true, to: "a" },
      options: { queue: "slow", expires: 10 },
      relative: false,
    },
  ]);
  const [name, entry] = periodicEntry("* * * * *", { ...signature, immutable: true }, { name: "mine", args: [1] });
  expect(name).toBe("mine");
  expect(entry.args).toEqual([2]);
});

test("the banner has Celery's lines", () => {
  const text = beatBanner({
    now: new Date(2026, 0, 2, 3, 4, 5),
    broker: "redis://:**@h/0",
    schedule: "celerybeat-schedule",
    logfile: undefined,
    loglevel: "info",
    maxInterval: 300,
  });
  expect(text.split("\n")).toEqual([
    "__    -    ... __   -        _",
    "LocalTime -> 2026-01-02 03:04:05",
    "Configuration ->",
    "    . broker -> redis://:**@h/0",
    "    . loader -> tq.app.load",
    "    . scheduler -> celery.beat.PersistentScheduler",
    "    . db -> celerybeat-schedule",
    "    . logfile -> [stderr]@%INFO",
    "    . maxinterval -> 5.00 minutes (300s)",
  ]);
});
