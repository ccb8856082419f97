import type { Dispatcher, EventFields } from "../events/dispatcher.ts";
import type { Outcome } from "../execution/outcome.ts";
import { encodeError, errorRepr } from "../protocol/exception.ts";
import { formatIso } from "../util/iso8601.ts";
import { pythonRepr } from "../util/repr.ts";
import { Interrupted } from "./interrupted.ts";
import type { Request } from "./request.ts";
import type { Settlement } from "./settle.ts";

/** One event to be: its type and what it says beside what every event says. */
export type TaskEvent = readonly [type: string, fields: EventFields];

/** How a revoked task came not to run, or not to end. */
export interface HowRevoked {
  /** It ran and was killed. */
  readonly terminated: boolean;
  /** Number of the signal it was killed with. */
  readonly signum: number | null;
  /** It was too late for it. */
  readonly expired: boolean;
}

/** Whoever follows tasks through their lives. */
export interface TaskWatcher {
  received(request: Request): void;
  started(request: Request): void;
  /** It ended, and what becomes of its message is decided. */
  ended(request: Request, outcome: Outcome, settlement: Settlement): void;
  revoked(request: Request, how: HowRevoked): void;
  /** It was stopped with the connection or the worker, and is not run again here. */
  cancelled(request: Request): void;
  /** Nobody has registered a task of this name. */
  unknown(id: string, name: string): void;
}

/** Several watchers as one. */
export function allWatchers(watchers: readonly TaskWatcher[]): TaskWatcher {
  const [only, ...others] = watchers;
  if (only !== undefined && others.length === 0) return only;
  return {
    received: (request) => watchers.forEach((one) => void one.received(request)),
    started: (request) => watchers.forEach((one) => void one.started(request)),
    ended: (request, outcome, settlement) => watchers.forEach((one) => void one.ended(request, outcome, settlement)),
    revoked: (request, how) => watchers.forEach((one) => void one.revoked(request, how)),
    cancelled: (request) => watchers.forEach((one) => void one.cancelled(request)),
    unknown: (id, name) => watchers.forEach((one) => void one.unknown(id, name)),
  };
}

/**
 * Tells of each step in a task's life, where task events are on and the task's `sendEvents` is
 * not off. Costs a look at a flag when they are off.
 */
export class TaskEvents implements TaskWatcher {
  readonly #dispatcher: Dispatcher;

  constructor(dispatcher: Dispatcher) {
    this.#dispatcher = dispatcher;
  }

  received(request: Request): void {
    if (this.#wants(request)) this.#send(receivedEvent(request));
  }

  started({ id, policy }: Request): void {
    if (this.#wants({ policy })) this.#dispatcher.send("task-started", { uuid: id });
  }

  ended(request: Request, outcome: Outcome, settlement: Settlement): void {
    if (!this.#wants(request)) return;
    for (const event of endEvents(request.id, outcome, settlement)) this.#send(event);
  }

  /** Stopped with its worker (Celery `request.py#cancel`). */
  cancelled(request: Request): void {
    if (this.#wants(request)) this.#dispatcher.send("task-cancelled", { uuid: request.id });
  }

  revoked(request: Request, how: HowRevoked): void {
    if (this.#wants(request)) this.#dispatcher.send("task-revoked", { uuid: request.id, ...how });
  }

  /** A task nobody registered here has no policy of its own. */
  unknown(id: string, name: string): void {
    if (!this.#dispatcher.sends("task")) return;
    this.#dispatcher.send("task-failed", { uuid: id, exception: `NotRegistered(${pythonRepr(name)})` });
  }

  #wants({ policy }: Pick<Request, "policy">): boolean {
    return this.#dispatcher.sends("task") && policy.sendEvents;
  }

  #send([type, fields]: TaskEvent): void {
    this.#dispatcher.send(type, fields);
  }
}

/** Celery's `task-received` (protocol 12.3). */
export function receivedEvent({ id, name, message, expires }: Request): TaskEvent {
  const { headers } = message;
  return [
    "task-received",
    {
      uuid: id,
      name,
      args: headers.argsrepr,
      kwargs: headers.kwargsrepr,
      root_id: headers.root_id,
      parent_id: headers.parent_id,
      retries: headers.retries,
      eta: headers.eta,
      expires: expires === null ? null : formatIso(expires),
    },
  ];
}

/**
 * What an end is told as. Pure. A task that goes back into its queue is told as rejected alone: it
 * has not failed yet. One that is ignored is not told at all, as in Celery.
 */
export function endEvents(uuid: string, outcome: Outcome, settlement: Settlement): readonly TaskEvent[] {
  const rejected = (requeue: boolean): TaskEvent => ["task-rejected", { uuid, requeue }];
  const failed = (exception: string, traceback: string | null): readonly TaskEvent[] => {
    if (settlement === "requeue") return [rejected(true)];
    const failure: TaskEvent = ["task-failed", { uuid, exception, traceback }];
    return settlement === "dead" ? [rejected(false), failure] : [failure];
  };
  switch (outcome.kind) {
    case "success":
      return [["task-succeeded", { uuid, result: outcome.result, runtime: outcome.runtime }]];
    case "failure":
      return failed(outcome.repr, outcome.traceback);
    case "retry":
      return [["task-retried", { uuid, exception: outcome.reason, traceback: outcome.traceback }]];
    case "ignore":
    case "terminated": // told with the revocation
      return [];
    case "reject":
      return [rejected(outcome.requeue)];
    case "invalid":
      return failed(outcome.reason, null);
    case "time-limit":
    case "lost":
      return failed(errorRepr(encodeError(Interrupted.error(outcome))), null);
  }
}
