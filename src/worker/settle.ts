import type { Outcome } from "../execution/outcome.ts";
import type { AckPolicy } from "../task/task.ts";

/**
 * What becomes of a message. `dead` is a reject without requeue, into the dead-letter store;
 * `shelf` keeps it for a worker that can run it.
 */
export type Settlement = "ack" | "dead" | "requeue" | "shelf";

/** What becomes of messages nobody here can run (`workerUnknownTasks`). */
export type UnknownTasks = "park" | "deadletter" | "discard";

/** What the worker's own settings have to say. */
export interface SettleRules {
  readonly unknownTasks: UnknownTasks;
  /** `workerMaxCrashes`. */
  readonly maxCrashes: number;
  /** Children that have died running this task, this one included. */
  readonly crashes: number;
}

/**
 * What to do with the message of a task that ended so. Pure: the whole rule is this table
 * (inventory G40 to G51). A message already acknowledged when the task began is settled once
 * more to no effect, so early acknowledgement needs no case of its own beyond the first two lines.
 */
export function settle(outcome: Outcome, policy: AckPolicy, rules: SettleRules): Settlement {
  // Never accepted, whatever the policy.
  if (outcome.kind === "invalid") return outcome.misfit ? settleUnknown(rules.unknownTasks) : "dead";
  // Never started: another child, or worker, may do better, unless it kills whoever takes it in hand.
  if (outcome.kind === "lost" && !outcome.accepted) return outcome.deaths === undefined ? "requeue" : "dead";
  if (!policy.acksLate) return "ack";
  switch (outcome.kind) {
    case "success":
    case "retry":
    case "ignore":
    case "terminated":
      return "ack";
    case "failure":
      return policy.acksOnFailure ? "ack" : "dead";
    case "reject":
      return outcome.requeue ? "requeue" : "dead";
    case "time-limit":
      return policy.acksOnTimeout ? "ack" : "requeue";
    case "lost":
      if (outcome.bystander) return "requeue"; // another task's fault: acknowledged late, it bears running twice
      if (policy.rejectOnWorkerLost) return rules.crashes < rules.maxCrashes ? "requeue" : "dead";
      return policy.acksOnFailure ? "ack" : "dead";
  }
}

/** The same for a task whose name is not known here, or whose arguments do not fit. */
export function settleUnknown(unknownTasks: UnknownTasks): Settlement {
  switch (unknownTasks) {
    case "park":
      return "shelf";
    case "deadletter":
      return "dead";
    case "discard":
      return "ack";
  }
}

/** Where it is kept, for the log. */
export function whereKept(settlement: Settlement): string {
  switch (settlement) {
    case "shelf":
      return "kept on the shelf until a worker can run it";
    case "dead":
      return "kept in the dead-letter store";
    case "requeue":
      return "back in its queue";
    case "ack":
      return "discarded";
  }
}
