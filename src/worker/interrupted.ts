import { encodeRecord } from "../backend/record.ts";
import {
  InvalidTaskError,
  NotRegistered,
  Retry,
  TaskRevokedError,
  TimeLimitExceeded,
  WorkerLostError,
} from "../errors.ts";
import { blankRequest } from "../execution/blank-request.ts";
import type { Ended, FollowUp } from "../execution/follow-up.ts";
import type { Interrupted as InterruptedOutcome } from "../execution/outcome.ts";
import type { Logger } from "../log.ts";
import { callersHeaders } from "../protocol/callers-headers.ts";
import { encodeError, type WireError } from "../protocol/exception.ts";
import type { Message } from "../protocol/message.ts";
import { NO_EMBED, readTaskBody, type TaskBody, type TaskMessage } from "../protocol/task-message.ts";
import { createTaskMeta, type TaskMeta } from "../protocol/task-meta.ts";
import { decodeBody } from "../serialization/registry.ts";
import type { Signals } from "../task/signals.ts";
import type { Task, TaskOptions } from "../task/task.ts";
import { formatIso } from "../util/iso8601.ts";
import type { ResultKeeper } from "./result-keeper.ts";

export interface InterruptedParts {
  readonly accept: ReadonlySet<string>;
  readonly resultSerializer: string;
  readonly results: ResultKeeper;
  /** URL of the store of this task's own; null where it has none. */
  readonly storeOf: (task: string) => string | null;
  readonly followUp: FollowUp;
  readonly signals: Signals;
  readonly hostname: string;
  readonly logger: Logger;
}

/**
 * Bytes of the largest body, unfolded, that is decoded in the parent. One may need thirty times
 * its size in memory, and a parent, unlike a child, is not replaced when it runs out of that.
 */
export const mostOpened = 16 * 2 ** 20;

/** Whether an error of this task is to be stored. */
const keepsErrors = (message: TaskMessage, policy: TaskOptions): boolean =>
  policy.storeErrorsEvenIfIgnored || !(message.headers.ignore_result ?? policy.ignoreResult);

/**
 * Records the ends nobody else can: a killed, lost, expired or unknown task. Only here does the
 * parent look into a body, for the errbacks and the chord that wait for such a task.
 */
export class Interrupted {
  readonly #parts: InterruptedParts;

  constructor(parts: InterruptedParts) {
    this.#parts = parts;
  }

  /** The error an interruption is known by to readers of the result. */
  static error(outcome: InterruptedOutcome): Error {
    switch (outcome.kind) {
      case "time-limit":
        return new TimeLimitExceeded(outcome.seconds);
      case "terminated":
        return new TaskRevokedError("terminated");
      case "lost": {
        const how = outcome.signal === null ? `exitcode ${outcome.exitCode}` : `signal ${outcome.signal}`;
        if (outcome.deaths === undefined) return new WorkerLostError(`Worker exited prematurely: ${how}.`);
        const memory = outcome.memory ? `, at ${Math.round(outcome.memory / 2 ** 20)} MiB of memory` : "";
        return new WorkerLostError(
          outcome.accepted
            ? `${outcome.deaths} child processes died running the task, the last with ${how}${memory}.`
            : `${outcome.deaths} child processes died of the message before it began, the last with ${how}.`,
        );
      }
    }
  }

  async ended(message: TaskMessage, task: Task, outcome: InterruptedOutcome): Promise<void> {
    const thrown = Interrupted.error(outcome);
    const error = encodeError(thrown);
    if (outcome.kind === "terminated") return await this.#revoked(message, task.options, error);
    if (keepsErrors(message, task.options)) await this.#store(message, "FAILURE", error);
    // What kills children that open it is not opened here.
    if (outcome.kind === "lost" && !outcome.accepted && outcome.deaths !== undefined) return;
    const opened = await this.#open(message);
    await this.#parts.followUp.interrupted(opened, thrown);
    await this.#tell(opened, task, thrown);
  }

  /** The child that could have told of the failure is gone. */
  async #tell({ message, body: [args, kwargs] }: Ended, task: Task, error: Error): Promise<void> {
    const { signals, hostname } = this.#parts;
    if (!signals.has("taskFailure")) return;
    const { headers } = message;
    const request = blankRequest({
      id: headers.id,
      task: headers.task,
      args,
      kwargs,
      retries: headers.retries,
      calledDirectly: false,
      hostname,
      origin: headers.origin,
      rootId: headers.root_id,
      parentId: headers.parent_id,
      group: headers.group,
      groupIndex: headers.group_index,
      shadow: headers.shadow,
      timelimit: headers.timelimit,
      argsrepr: headers.argsrepr,
      kwargsrepr: headers.kwargsrepr,
      headers: callersHeaders(headers),
    });
    await signals.send("taskFailure", { task: task.name, request, error });
  }

  /** A task that never ran because it was revoked or had expired. */
  async revoked(message: TaskMessage, policy: TaskOptions, reason: string): Promise<void> {
    await this.#revoked(message, policy, encodeError(new TaskRevokedError(reason)));
  }

  /** A running task that was stopped with its worker after it had been acknowledged (Celery `request.py#cancel`). */
  async cancelled(message: TaskMessage, policy: TaskOptions): Promise<void> {
    if (keepsErrors(message, policy))
      await this.#store(message, "RETRY", encodeError(new Retry("cancelled by Celery")));
  }

  /** Shows a task of which nothing but its id is known as revoked; `children` is null for want of a request (trap 17). */
  async markRevoked(id: string): Promise<void> {
    const meta = createTaskMeta({
      task_id: id,
      status: "REVOKED",
      result: encodeError(new TaskRevokedError("revoked")),
      traceback: null,
      children: null,
      date_done: formatIso(new Date()),
    });
    await this.#keep(meta, { properties: {}, headers: {} });
  }

  async notRegistered(message: TaskMessage): Promise<void> {
    if (message.headers.ignore_result === true) return;
    await this.#store(message, "FAILURE", encodeError(new NotRegistered(message.headers.task)));
  }

  /** A message that is no sound task message, as far as it says whose result it would be. */
  async refused(message: Message, reason: string): Promise<void> {
    const { id, ignore_result } = message.headers;
    if (typeof id !== "string" || id === "" || ignore_result === true) return;
    const meta = createTaskMeta({
      task_id: id,
      status: "FAILURE",
      result: encodeError(new InvalidTaskError(reason)),
      traceback: null,
      children: [],
      date_done: formatIso(new Date()),
    });
    await this.#keep(meta, message);
  }

  async #revoked(message: TaskMessage, policy: TaskOptions, error: WireError): Promise<void> {
    if (keepsErrors(message, policy)) await this.#store(message, "REVOKED", error);
    await this.#parts.followUp.revoked(await this.#open(message), error);
  }

  async #store(message: TaskMessage, state: string, error: WireError): Promise<void> {
    const { headers } = message;
    const meta = createTaskMeta({
      task_id: headers.id,
      status: state,
      result: error,
      traceback: null,
      children: [],
      date_done: formatIso(new Date()),
      ...(headers.group === null ? {} : { group_id: headers.group }),
      ...(headers.parent_id === null ? {} : { parent_id: headers.parent_id }),
    });
    await this.#keep(meta, message);
  }

  async #keep(meta: TaskMeta, { headers, properties }: Pick<Message, "headers" | "properties">): Promise<void> {
    const record = await encodeRecord(meta, {
      serializer: this.#parts.resultSerializer,
      replyTo: typeof properties.reply_to === "string" ? properties.reply_to : null,
      correlationId: typeof properties.correlation_id === "string" ? properties.correlation_id : null,
      store: typeof headers.task === "string" ? this.#parts.storeOf(headers.task) : null,
    });
    await this.#parts.results.keep(record);
  }

  /** A body that cannot be read has no followers that could be told. */
  async #open(message: TaskMessage): Promise<Ended> {
    try {
      const body = readTaskBody(
        await decodeBody(message, this.#parts.accept, { maxBytes: mostOpened }),
        message.headers,
      );
      return { message, body };
    } catch (error) {
      this.#parts.logger.warn(
        { taskId: message.headers.id },
        "callbacks of %s cannot be read: %s",
        message.headers.id,
        String(error),
      );
      const empty: TaskBody = [[], {}, NO_EMBED];
      return { message, body: empty };
    }
  }
}
