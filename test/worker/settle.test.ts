import { describe, expect, test } from "vitest";
import type { Outcome } from "../../src/execution/outcome.ts";
import type { AckPolicy } from "../../src/task/task.ts";
import { settle } from "../../src/worker/settle.ts";

const early: AckPolicy = { acksLate: false, acksOnFailure: true, acksOnTimeout: true, rejectOnWorkerLost: false };
const late: AckPolicy = { ...early, acksLate: true };

const outcomes: Record<string, Outcome> = {
  success: { kind: "success", runtime: 0, result: "1", record: null },
  failure: { kind: "failure", runtime: 0, repr: "E()", traceback: "", expected: false, record: null },
  retry: { kind: "retry", runtime: 0, repr: "", reason: "None", traceback: "", record: null },
  ignore: { kind: "ignore", runtime: 0 },
  "reject, requeue": { kind: "reject", runtime: 0, requeue: true, reason: "" },
  "reject, dead": { kind: "reject", runtime: 0, requeue: false, reason: "" },
  invalid: { kind: "invalid", reason: "", record: null },
  "time limit": { kind: "time-limit", seconds: 1 },
  terminated: { kind: "terminated", signal: "SIGTERM" },
  "lost while running": { kind: "lost", accepted: true, exitCode: 1, signal: null },
  "lost before it began": { kind: "lost", accepted: false, exitCode: null, signal: "SIGKILL" },
};

/** Outcome; then what becomes of it under each policy. */
const table: readonly (readonly [string, string, string, string, string, string])[] = [
  // outcome,              early,    late,      no acksOnFailure, no acksOnTimeout, rejectOnWorkerLost
  ["success", "ack", "ack", "ack", "ack", "ack"],
  ["failure", "ack", "ack", "dead", "ack", "ack"],
  ["retry", "ack", "ack", "ack", "ack", "ack"],
  ["ignore", "ack", "ack", "ack", "ack", "ack"],
  ["reject, requeue", "ack", "requeue", "requeue", "requeue", "requeue"],
  ["reject, dead", "ack", "dead", "dead", "dead", "dead"],
  ["invalid", "dead", "dead", "dead", "dead", "dead"],
  ["time limit", "ack", "ack", "ack", "requeue", "ack"],
  ["terminated", "ack", "ack", "ack", "ack", "ack"],
  ["lost while running", "ack", "ack", "dead", "ack", "requeue"],
  ["lost before it began", "requeue", "requeue", "requeue", "requeue", "requeue"],
];

describe("what becomes of a message", () => {
  test("every kind of outcome is in the table", () => {
    expect(table.map(([name]) => name).sort()).toEqual(Object.keys(outcomes).sort());
  });

  test.each(table)("%s", (name, whenEarly, whenLate, noAckOnFailure, noAckOnTimeout, rejectOnLost) => {
    const outcome = outcomes[name] as Outcome;
    expect({
      early: settle(outcome, early),
      late: settle(outcome, late),
      noAckOnFailure: settle(outcome, { ...late, acksOnFailure: false }),
      noAckOnTimeout: settle(outcome, { ...late, acksOnTimeout: false }),
      rejectOnLost: settle(outcome, { ...late, rejectOnWorkerLost: true }),
    }).toEqual({ early: whenEarly, late: whenLate, noAckOnFailure, noAckOnTimeout, rejectOnLost });
  });
});
