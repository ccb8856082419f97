/**
 * Every error tq throws, in one tree. A class exists for each thing a caller may want to
 * catch; names are Celery's where Celery has one, so that a Python peer shows the same word.
 */

/** The root: anything tq throws on purpose. `code` is stable and meant for programs. */
export class TqError extends Error {
  readonly code: string;

  constructor(message: string, options?: { readonly cause?: unknown; readonly code?: string }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = options?.code ?? "TQ_ERROR";
  }
}

// ── configuration and start-up ───────────────────────────────────────────────

/** A setting, an option or a combination of them cannot work. The message names key, rule and value. */
export class ImproperlyConfigured extends TqError {}

/** Something was refused because it is not safe. */
export class SecurityError extends TqError {}

/** The app named by `-A` could not be found or threw while loading. */
export class AppLoadError extends TqError {}

/** A pool in which no slot can ever take a job. */
export class PoolStartError extends TqError {}

// ── transport ────────────────────────────────────────────────────────────────

/** A broker or result store did not do what was asked; kombu's OperationalError. */
export class OperationalError extends TqError {}

/** The connection to a broker is lost or cannot be made. Whoever catches it decides about retrying. */
export class BrokerConnectionError extends OperationalError {}

/** The connection to a result backend is lost or cannot be made. */
export class BackendConnectionError extends OperationalError {}

/** The message is larger than the limit in force. */
export class MessageTooLarge extends TqError {
  readonly size: number;
  readonly limit: number;

  constructor(message: string, size: number, limit: number) {
    super(message);
    this.size = size;
    this.limit = limit;
  }
}

// ── serialization ────────────────────────────────────────────────────────────

/** A value cannot be written in the serializer asked for. */
export class EncodeError extends TqError {}

/** Bytes that do not mean what their content type says. */
export class DecodeError extends TqError {}

/** A content type that `acceptContent` does not allow. Nothing of it was decoded. */
export class ContentDisallowed extends TqError {}

// ── tasks ────────────────────────────────────────────────────────────────────

/** Base of errors about tasks and their results. */
export class TaskError extends TqError {}

/** No task of this name is known here. */
export class NotRegistered extends TaskError {}

/** A queue that `taskQueues` does not define, while `taskCreateMissingQueues` is off. */
export class QueueNotFound extends TaskError {}

/** The result was not there in time. */
export class TimeoutError extends TaskError {}

/** `retry` was called more than `maxRetries` times. `taskArgs` and `taskKwargs` are known where it was thrown. */
export class MaxRetriesExceededError extends TaskError {
  readonly taskArgs: readonly unknown[];
  readonly taskKwargs: Readonly<Record<string, unknown>>;

  constructor(
    message: string,
    call: { readonly args?: readonly unknown[]; readonly kwargs?: Readonly<Record<string, unknown>> } = {},
  ) {
    super(message);
    this.taskArgs = call.args ?? [];
    this.taskKwargs = call.kwargs ?? {};
  }
}

/** The task was revoked, terminated, or had expired. */
export class TaskRevokedError extends TaskError {}

/** A task message that cannot be run: wrong shape, broken eta, arguments that do not fit. */
export class InvalidTaskError extends TaskError {}

/** Arguments or a result that do not fit the task's schema; `issues` as the schema told them. */
export class ValidationError extends InvalidTaskError {
  readonly issues: readonly { readonly message: string }[];

  constructor(message: string, issues: readonly { readonly message: string }[]) {
    super(message, { code: "TQ_VALIDATION" });
    this.issues = issues;
  }
}

/** A member of a chord's header failed. */
export class ChordError extends TaskError {}

/** A walk through results came to one that is not there yet. */
export class IncompleteStream extends TaskError {}

/** The result store could not give a result after its retries. */
export class BackendGetMetaError extends TaskError {}

/** The result store could not keep a result after its retries. */
export class BackendStoreError extends TaskError {}

/** The soft time limit passed while the task ran. May be caught to clean up. */
export class SoftTimeLimitExceeded extends TaskError {}

/** The hard time limit passed: the child running the task was killed. */
export class TimeLimitExceeded extends TaskError {
  readonly limit: number;

  constructor(limit: number) {
    super(String(limit));
    this.limit = limit;
  }
}

/** The child running the task died. */
export class WorkerLostError extends TaskError {}

/** The task was stopped by request. */
export class Terminated extends TaskError {}

/**
 * An exception a task threw elsewhere, whose class is not known here. `excType`, `excModule`
 * and `args` are what the wire said; `remoteTraceback` is the text of the remote stack.
 */
export class RemoteError extends TaskError {
  readonly excType: string;
  readonly excModule: string | null;
  readonly args: readonly unknown[];
  remoteTraceback: string | null = null;

  constructor(excType: string, excModule: string | null, args: readonly unknown[]) {
    super(args.length === 1 && typeof args[0] === "string" ? args[0] : args.map((arg) => String(arg)).join(", "));
    this.excType = excType;
    this.excModule = excModule;
    this.args = args;
    this.name = excType;
  }
}

// ── how a task leaves without a result (celery.exceptions.TaskPredicate) ─────

/** Thrown by a task to end in a way that is neither success nor failure. */
export class TaskPredicate extends TqError {}

/** The task has dealt with its own state: store nothing, acknowledge. */
export class Ignore extends TaskPredicate {
  constructor(message = "") {
    super(message);
  }
}

/** Give the message back (`requeue`) or to the dead-letter store. */
export class Reject extends TaskPredicate {
  readonly reason: string;
  readonly requeue: boolean;

  constructor(reason = "", options: { readonly requeue?: boolean } = {}) {
    super(reason);
    this.reason = reason;
    this.requeue = options.requeue ?? false;
  }
}

/** The task is to run again; thrown by `self.retry()`. `when` is an instant or seconds from now. */
export class Retry extends TaskPredicate {
  readonly when: Date | number | null;

  constructor(message = "", options: { readonly cause?: unknown; readonly when?: Date | number | null } = {}) {
    super(message, { cause: options.cause });
    this.when = options.when ?? null;
  }
}
