import { describe, expect, test } from "vitest";
import type { RevokeRecord } from "../../src/control/revoke-notes.ts";
import { createTaskHeaders } from "../../src/protocol/task-message.ts";
import { parseSignal, signalNumber } from "../../src/system/posix-signals.ts";
import { Revokes, revokeLimits } from "../../src/worker/revokes.ts";

const headersOf = (id: string, stamps: Record<string, unknown> = {}) =>
  createTaskHeaders({ task: "t", id, stamps, stamped_headers: Object.keys(stamps) });

/** A day in 2026, moved by hand. */
function clock() {
  let at = 1_780_000_000;
  return { now: () => at, pass: (seconds: number) => (at += seconds) };
}

describe("revokes", () => {
  test("find a task by its id and leave others alone", () => {
    const revokes = new Revokes();
    revokes.revoke(["a", "b"]);
    expect(revokes.find(headersOf("a"))).toEqual({ kind: "id" });
    expect(revokes.find(headersOf("c"))).toBeNull();
    expect(revokes.ids()).toEqual(["a", "b"]);
  });

  test("find a task by any value of any of its stamps", () => {
    const revokes = new Revokes();
    revokes.revokeByStampedHeaders({ tenant: ["acme", 7], batch: "x" });
    expect(revokes.find(headersOf("1", { tenant: "acme" }))).toEqual({
      kind: "header",
      header: "tenant",
      value: "acme",
    });
    expect(revokes.find(headersOf("2", { other: "acme", tenant: ["no", 7] }))).toMatchObject({ value: 7 });
    expect(revokes.find(headersOf("3", { batch: ["x"] }))).toMatchObject({ header: "batch" });
    expect(revokes.find(headersOf("4", { tenant: "7" }))).toBeNull();
    expect(revokes.find(headersOf("5"))).toBeNull();
    // A stamp that is not announced in stamped_headers is none (Celery looks only there).
    expect(revokes.find({ ...headersOf("6", { batch: "x" }), stamped_headers: null })).toBeNull();
  });

  test("are forgotten when they are old, and the oldest when they are many", () => {
    const { now, pass } = clock();
    const revokes = new Revokes({ maxSize: 2, expires: 100 }, now);
    revokes.revoke(["a"]);
    pass(99);
    expect(revokes.find(headersOf("a"))).not.toBeNull();
    pass(2);
    expect(revokes.find(headersOf("a"))).toBeNull();
    revokes.revoke(["b", "c", "d"]);
    expect(revokes.ids()).toEqual(["c", "d"]);
    revokes.revokeByStampedHeaders({ s: [1, 2, 3] });
    expect(revokes.record().stamps.map(([, value]) => value)).toEqual([2, 3]);
  });

  test("go from one memory into another with their age, and only news is told", () => {
    const { now, pass } = clock();
    const one = new Revokes({ maxSize: 10, expires: 100 }, now);
    const other = new Revokes({ maxSize: 10, expires: 100 }, now);
    const told: RevokeRecord[] = [];
    other.onAdded((added) => told.push(added));
    one.revoke(["a"]);
    one.revokeByStampedHeaders({ tenant: "acme" });
    pass(60);
    other.merge(one.record());
    other.merge(one.record());
    expect(told).toEqual([one.record()]);
    pass(50);
    expect(other.find(headersOf("a"))).toBeNull();
  });

  test("with the reading of another clock count from now", () => {
    const { now } = clock();
    const revokes = new Revokes({ maxSize: 10, expires: 100 }, now);
    revokes.merge({
      ids: [
        ["python", 1924.25],
        ["future", now() + 5_000],
      ],
      stamps: [],
    });
    expect(revokes.record().ids).toEqual([
      ["python", now()],
      ["future", now()],
    ]);
  });

  test("take their limits from Celery's variables, or ours before them", () => {
    expect(revokeLimits({})).toEqual({ maxSize: 50_000, expires: 10_800 });
    const env = { CELERY_WORKER_REVOKES_MAX: "5", CELERY_WORKER_REVOKE_EXPIRES: "9", TQ_WORKER_REVOKES_MAX: "6" };
    expect(revokeLimits(env)).toEqual({ maxSize: 6, expires: 9 });
    expect(() => revokeLimits({ CELERY_WORKER_REVOKES_MAX: "many" })).toThrow(/CELERY_WORKER_REVOKES_MAX .* got: many/);
  });
});

test("a signal is known by its name with or without SIG, and by its number", () => {
  expect(["SIGKILL", "KILL", 9].map(parseSignal)).toEqual(["SIGKILL", "SIGKILL", "SIGKILL"]);
  expect(["kill", "SIGNONE", 0, null].map(parseSignal)).toEqual([undefined, undefined, undefined, undefined]);
  expect(signalNumber("SIGTERM")).toBe(15);
});
