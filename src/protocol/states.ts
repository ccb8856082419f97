/** Names of task states and what they imply (protocol 5.3, celery.states). */
export type TaskState = "PENDING" | "RECEIVED" | "STARTED" | "SUCCESS" | "FAILURE" | "RETRY" | "REVOKED" | "REJECTED" | "IGNORED";

/** A state, or one of the user's own. */
export type AnyState = TaskState | (string & {});
