import { TaskRevokedError, TimeLimitExceeded } from "../errors.ts";
import type { AbandonReason } from "./crew/member.ts";

/** What the signal of a run that is given up aborts with. */
export function abandonedBecause(reason: AbandonReason): Error {
  return reason === "terminated" ? new TaskRevokedError("terminated") : new TimeLimitExceeded(0);
}
