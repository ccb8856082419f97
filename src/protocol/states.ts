/** Names of task states and what they imply (protocol 5.3, celery.states). */
export type TaskState =
  | "PENDING"
  | "RECEIVED"
  | "STARTED"
  | "SUCCESS"
  | "FAILURE"
  | "RETRY"
  | "REVOKED"
  | "REJECTED"
  | "IGNORED";

/** A state, or one of the user's own. */
export type AnyState = TaskState | (string & {});

/** The task has ended and its result will not change. */
export const READY_STATES: ReadonlySet<string> = new Set(["SUCCESS", "FAILURE", "REVOKED"]);

/** The task has not ended. Custom states are in neither set. */
export const UNREADY_STATES: ReadonlySet<string> = new Set(["PENDING", "RECEIVED", "STARTED", "REJECTED", "RETRY"]);

/** The result is an exception. */
export const EXCEPTION_STATES: ReadonlySet<string> = new Set(["RETRY", "FAILURE", "REVOKED"]);

/** Waiting for the result throws its exception. */
export const PROPAGATE_STATES: ReadonlySet<string> = new Set(["FAILURE", "REVOKED"]);

/** Every state there is beside those of the user's own. */
export const ALL_STATES: ReadonlySet<string> = new Set([...READY_STATES, ...UNREADY_STATES, "IGNORED"]);

/** Whether the task has ended. Custom states have not. */
export function isReady(state: string): boolean {
  return READY_STATES.has(state);
}

/** Strongest first; custom states stand where null is (protocol 12.4). */
const order: readonly (string | null)[] = [
  "SUCCESS",
  "FAILURE",
  null,
  "REVOKED",
  "STARTED",
  "RECEIVED",
  "REJECTED",
  "RETRY",
  "PENDING",
];
const ranks: ReadonlyMap<string | null, number> = new Map(order.map((state, rank) => [state, rank]));

/** Rank of a state when reports about one task disagree: the smaller number wins. */
export function precedence(state: string): number {
  return ranks.get(state) ?? (ranks.get(null) as number);
}
