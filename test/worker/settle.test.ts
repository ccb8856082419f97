import { describe, expect, test } from "vitest";
import type { Outcome } from "../../src/execution/outcome.ts";
import type { AckPolicy } from "../../src/task/task.ts";
import { type SettleRules, settle, settleUnknown } from "../../src/worker/settle.ts";

const early: AckPolicy = { acksLate: false, acksOnFailure: true, acksOnTimeout: true, rejectOnWorkerLost: false };
const late: AckPolicy = { ...early, acksLate: true };

const rules: SettleRules = { unknownTasks: "park", maxCrashes: 3, crashes: 1 };

const outcomes: Record<string, Outcome> = {
  success: { kind: "success", runtime: 0, result: "1", record: null },
  failure: { kind: "failure", runtime: 0, repr: "E()", traceback: "", expected: false, record: null },
  retry: { kind: "retry", runtime: 0, repr: "", reason: "None", traceback: "", record: null },
  ignore: { kind: "ignore", runtime: 0 },
  "reject, requeue": { kind: "reject", runtime: 0, requeue: true, reason: "" },
  "reject, dead": { kind: "reject", runtime: 0, requeue: false, reason: "" },
  invalid: { kind: "invalid", reason: "", record: null },
  misfit: { kind: "invalid", reason: "", misfit: true, record: null },
  "time limit": { kind: "time-limit", seconds: 1 },
  terminated: { kind: "terminated", signal: "SIGTERM" },
  "lost while running": { kind: "lost", accepted: true, exitCode: 1, signal: null },
  "lost for another's fault": { kind: "lost", accepted: true, bystander: true, exitCode: null, signal: "SIGKILL" },
  "killer before it began": { kind: "lost", accepted: false, exitCode: 1, signal: null, deaths: 3 },
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
  ["misfit", "shelf", "shelf", "shelf", "shelf", "shelf"],
  ["time limit", "ack", "ack", "ack", "requeue", "ack"],
  ["terminated", "ack", "ack", "ack", "ack", "ack"],
  ["lost while running", "ack", "ack", "dead", "ack", "requeue"],
  ["lost for another's fault", "ack", "requeue", "requeue", "requeue", "requeue"],
  ["killer before it began", "dead", "dead", "dead", "dead", "dead"],
  ["lost before it began", "requeue", "requeue", "requeue", "requeue", "requeue"],
];

describe("what becomes of a message", () => {
  test("every kind of outcome is in the table", () => {
    expect(table.map(([name]) => name).sort()).toEqual(Object.keys(outcomes).sort());
  });

  test.each(table)("%s", (name, whenEarly, whenLate, noAckOnFailure, noAckOnTimeout, rejectOnLost) => {
    const outcome = outcomes[name] as Outcome;
    expect({
      early: settle(outcome, early, rules),
      late: settle(outcome, late, rules),
      noAckOnFailure: settle(outcome, { ...late, acksOnFailure: false }, rules),
      noAckOnTimeout: settle(outcome, { ...late, acksOnTimeout: false }, rules),
      rejectOnLost: settle(outcome, { ...late, rejectOnWorkerLost: true }, rules),
    }).toEqual({ early: whenEarly, late: whenLate, noAckOnFailure, noAckOnTimeout, rejectOnLost });
  });

  test("that killed its child again and again is dead, however it is acknowledged late", () => {
    const lost = outcomes["lost while running"] as Outcome;
    const policy: AckPolicy = { ...late, rejectOnWorkerLost: true };
    expect([1, 2, 3, 4].map((crashes) => settle(lost, policy, { ...rules, crashes }))).toEqual([
      "requeue",
      "requeue",
      "dead",
      "dead",
    ]);
    expect(settle(lost, policy, { ...rules, maxCrashes: 1 })).toBe("dead");
    expect(settle(lost, early, { ...rules, crashes: 9 })).toBe("ack");
  });

  test("nobody here can run is the settings' to say", () => {
    expect((["park", "deadletter", "discard"] as const).map(settleUnknown)).toEqual(["shelf", "dead", "ack"]);
    const misfit = outcomes.misfit as Outcome;
    expect(settle(misfit, early, { ...rules, unknownTasks: "discard" })).toBe("ack");
    // What cannot be decoded is no task of another version.
    expect(settle(outcomes.invalid as Outcome, early, { ...rules, unknownTasks: "discard" })).toBe("dead");
  });
});
