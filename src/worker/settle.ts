import type { Outcome } from "../execution/outcome.ts";
import type { AckPolicy } from "../task/task.ts";

/** `dead` is a reject without requeue: into the dead-letter store. */
export type Settlement = "ack" | "dead" | "requeue";

/**
 * What to do with the message of a task that ended so. Pure: the whole rule is this table
 * (inventory G40 to G51). A message already acknowledged when the task began is settled once
 * more to no effect, so early acknowledgement needs no case of its own beyond the first two lines.
 */
export function settle(outcome: Outcome, policy: AckPolicy): Settlement {
  if (outcome.kind === "invalid") return "dead"; // never accepted, whatever the policy
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
      return policy.rejectOnWorkerLost ? "requeue" : policy.acksOnFailure ? "ack" : "dead";
  }
}
