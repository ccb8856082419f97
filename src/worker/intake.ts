import type { Delivery } from "../broker/broker.ts";
import { DecodeError, InvalidTaskError, MessageTooLarge } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Message } from "../protocol/message.ts";
import { withHeaders } from "../protocol/message-of-bytes.ts";
import { readTaskHeaders, type TaskMessage } from "../protocol/task-message.ts";
import { bodyFromV1, headersFromV1, isV1Body } from "../protocol/task-message-v1.ts";
import { decodeBody, encodeBody } from "../serialization/registry.ts";
import type { TaskRegistry } from "../task/registry.ts";
import type { Signals } from "../task/signals.ts";
import { parseIso } from "../util/iso8601.ts";
import { legible } from "../util/legible.ts";
import { longestTimerMs } from "../util/longest-timer.ts";
import { pythonRepr } from "../util/repr.ts";
import { type Interrupted, mostOpened } from "./interrupted.ts";
import type { Request } from "./request.ts";
import type { Revocation } from "./revocation.ts";
import { type Settlement, settleUnknown, type UnknownTasks, whereKept } from "./settle.ts";
import type { WorkerState } from "./state.ts";
import type { TaskWatcher } from "./task-events.ts";

export interface IntakeParts {
  readonly registry: TaskRegistry;
  /** `workerUnknownTasks`. */
  readonly unknownTasks: UnknownTasks;
  readonly accept: ReadonlySet<string>;
  readonly logger: Logger;
  readonly signals: Signals;
  readonly state: WorkerState;
  readonly interrupted: Interrupted;
  readonly revocation: Revocation;
  readonly events: TaskWatcher;
  /** Most requests kept in hand while they wait for their time. */
  readonly mostHeld: () => number;
  readonly reserve: (request: Request) => void;
  /** What settling rejects with is a lost connection: the message will come again. */
  readonly onSettleError: (error: unknown) => void;
}

/** Longest wait kept in the worker, in milliseconds; what is due later waits in the broker. */
const shortWaitMs = 1_000;

/**
 * One delivery after another: known? valid? expired? due? Each goes to the pool, to the broker's
 * parking place, or, with its reason, to the dead-letter store. Nothing a message holds can
 * throw past this door.
 */
export class Intake {
  readonly #parts: IntakeParts;
  readonly #timers = new Map<Request, NodeJS.Timeout>();

  constructor(parts: IntakeParts) {
    this.#parts = parts;
  }

  take(delivery: Delivery): void {
    try {
      if (delivery.damage !== null) return this.#refuse(delivery, delivery.damage);
      const { headers } = delivery.message;
      if (headers.task === undefined || headers.task === null) return this.#takeOld(delivery);
      this.#admit(delivery, withHeaders(delivery.message, readTaskHeaders(delivery.message)));
    } catch (error) {
      this.#refuse(delivery, `Received invalid task message: ${textOf(error)}`);
    }
  }

  /** Forgets what waits for its minute; the broker still has it. */
  stop(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#parts.state.scheduled.clear();
  }

  #admit(delivery: Delivery, message: TaskMessage): void {
    const { registry, logger, signals, revocation } = this.#parts;
    const { headers } = message;
    const task = registry.get(headers.task);
    if (!task) return this.#unknown(delivery, message);
    const eta = headers.eta === null ? null : parseTime(headers.eta, "eta");
    const expires = headers.expires === null ? null : parseTime(headers.expires, "expires");
    const request: Request = {
      id: headers.id,
      name: headers.shadow ?? headers.task,
      task,
      message,
      delivery,
      policy: task.options,
      expires,
      phase: { name: "received" },
    };
    logger.info("Task %s[%s] received", request.name, request.id);
    if (revocation.stops(request)) return;
    this.#parts.events.received(request);
    if (signals.has("taskReceived"))
      void signals.send("taskReceived", { task: headers.task, id: headers.id, queue: delivery.queue, headers });
    const wait = eta === null ? 0 : eta.getTime() - Date.now();
    if (wait <= 0) return this.#parts.reserve(request);
    const due = eta as Date;
    if (wait <= shortWaitMs && this.#parts.state.scheduled.size < this.#parts.mostHeld())
      return this.#hold(request, due);
    delivery.park(due).catch((error: unknown) => {
      // What came in from elsewhere may have headers this client cannot write: it waits in hand, as in Celery.
      if (error instanceof MessageTooLarge) this.#hold(request, due);
      else this.#parts.onSettleError(error);
    });
  }

  #hold(request: Request, due: Date): void {
    const { state } = this.#parts;
    request.phase = { name: "scheduled", due };
    state.scheduled.add(request);
    const wake = (): void => {
      const wait = due.getTime() - Date.now();
      if (wait > 0) {
        this.#timers.set(request, setTimeout(wake, Math.min(wait, longestTimerMs)));
        return;
      }
      this.#timers.delete(request);
      state.scheduled.delete(request);
      this.#parts.reserve(request);
    };
    wake();
  }

  #unknown(delivery: Delivery, message: TaskMessage): void {
    const { interrupted, logger, signals } = this.#parts;
    const { headers } = message;
    const settlement = settleUnknown(this.#parts.unknownTasks);
    logger.error(
      "Received unregistered task of type '%s' (queue %s, id %s; %s).\n\n" +
        "Did you remember to import the module containing this task?\nOr maybe you're using relative imports?\n\n" +
        "The full contents of the message headers:\n%s\n\nThe delivery info for this task is:\n%j",
      legible(headers.task),
      delivery.queue,
      legible(headers.id),
      whereKept(settlement),
      pythonRepr(headers, { maxLength: 1_000 }),
      { queue: delivery.queue, ...delivery.address },
    );
    if (signals.has("taskUnknown"))
      void signals.send("taskUnknown", { task: headers.task, id: headers.id, queue: delivery.queue, headers });
    this.#parts.events.unknown(headers.id, headers.task);
    this.#bury(delivery, interrupted.notRegistered(message), `NotRegistered: '${legible(headers.task)}'`, settlement);
  }

  /** No `task` header: a message of protocol 1, read once here and carried on as protocol 2. */
  #takeOld(delivery: Delivery): void {
    void (async () => {
      const { message } = delivery;
      const decoded = await decodeBody(message, this.#parts.accept, { maxBytes: mostOpened });
      if (!isV1Body(decoded)) {
        const why = "It has no header `task`, and its body is not one of protocol 1 either.";
        return this.#refuse(delivery, `Received unknown message.  Wrong destination?!?  ${why}`);
      }
      const encoded = await encodeBody(bodyFromV1(decoded), "json");
      const upgraded: Message = {
        ...message,
        headers: { ...headersFromV1(decoded), ...message.headers },
        contentType: encoded.contentType,
        contentEncoding: encoded.contentEncoding,
        body: encoded.body,
      };
      this.#admit(delivery, { ...upgraded, headers: readTaskHeaders(upgraded) });
    })().catch((error: unknown) => {
      const what = error instanceof DecodeError ? "Can't decode message body" : "Received invalid task message";
      this.#refuse(delivery, `${what}: ${textOf(error)}`);
    });
  }

  /** Into the dead-letter store with its reason; the worker goes on. */
  #refuse(delivery: Delivery, why: string): void {
    const { logger, signals, interrupted } = this.#parts;
    const reason = legible(why);
    const id = typeof delivery.message.headers.id === "string" ? delivery.message.headers.id : null;
    logger.error(
      { queue: delivery.queue, taskId: id ?? "unknown" },
      "%s (queue %s, id %s; kept in the dead-letter store)",
      reason,
      delivery.queue,
      legible(id || "unknown"),
    );
    if (signals.has("taskRejected")) void signals.send("taskRejected", { id, queue: delivery.queue, reason });
    this.#bury(delivery, interrupted.refused(delivery.message, reason), reason);
  }

  /** A result that cannot be stored does not keep the message in hand. */
  #bury(delivery: Delivery, recorded: Promise<void>, reason: string, settlement: Settlement = "dead"): void {
    recorded
      .catch((error: unknown) =>
        this.#parts.logger.warn("the reason could not be stored as a result: %s", textOf(error)),
      )
      .then(() =>
        settlement === "ack"
          ? delivery.ack()
          : delivery.reject({ requeue: false, reason, shelf: settlement === "shelf" }),
      )
      .catch(this.#parts.onSettleError);
  }
}

function parseTime(text: string, header: string): Date {
  try {
    return parseIso(text);
  } catch (error) {
    throw new InvalidTaskError(`the header ${header} must be an ISO 8601 time, got: ${String(text).slice(0, 100)}`, {
      cause: error,
    });
  }
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
