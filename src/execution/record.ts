import type { OpenBackend } from "../backend/backend.ts";
import { encodeRecord, type ResultRecord } from "../backend/record.ts";
import type { Settings } from "../config/settings.ts";
import { EncodeError } from "../errors.ts";
import type { WireError } from "../protocol/exception.ts";
import { isReady } from "../protocol/states.ts";
import { createTaskMeta, type ResultTuple } from "../protocol/task-meta.ts";
import { formatIso } from "../util/iso8601.ts";
import type { Job } from "./job.ts";
import type { Ready } from "./ready.ts";
import { untilStored } from "./until-stored.ts";

export interface RecorderParts {
  readonly settings: Settings;
  readonly backend: OpenBackend;
  /** URL of the store of this task's own; null where it has none. */
  readonly storeOf: (task: string) => string | null;
}

/**
 * Makes the documents of results, and stores those that cannot wait for whoever gets the outcome.
 * Which results are kept follows Celery's current rule: the header, when the caller set it,
 * overrides the task's definition (protocol 5.5).
 */
export class Recorder {
  readonly #parts: RecorderParts;

  constructor(parts: RecorderParts) {
    this.#parts = parts;
  }

  /** `mustStore`: something that follows reads it. Throws or rejects with `EncodeError` when the value cannot be written: the task then has failed (inventory B75). */
  success(
    ready: Ready,
    value: unknown,
    children: readonly ResultTuple[],
    mustStore: boolean,
  ): ResultRecord | null | Promise<ResultRecord | null> {
    const { job, task, body } = ready;
    if (job.message.headers.ignore_result ?? task.options.ignoreResult) {
      return null;
    }
    if (typeof value === "function" || typeof value === "symbol")
      throw new EncodeError(`${task.name} returned a ${typeof value}, which cannot be stored`);
    const record = this.#encode(job, body, "SUCCESS", value ?? null, null, children);
    return mustStore ? this.#storeNow(record) : record;
  }

  /** `mustStore`: something that follows reads it, so it is stored here and now. */
  failure(
    ready: Ready,
    error: WireError,
    traceback: string,
    children: readonly ResultTuple[],
    mustStore: boolean,
  ): ResultRecord | null | Promise<ResultRecord | null> {
    const { job, task, body } = ready;
    const ignored = job.message.headers.ignore_result ?? task.options.ignoreResult;
    if (ignored && !task.options.storeErrorsEvenIfIgnored) return null;
    const record = this.#encode(job, body, "FAILURE", error, traceback, children);
    return mustStore ? this.#storeNow(record) : record;
  }

  retry(
    ready: Ready,
    error: WireError,
    traceback: string,
    children: readonly ResultTuple[],
  ): ResultRecord | null | Promise<ResultRecord | null> {
    const { job, task, body } = ready;
    if (job.message.headers.ignore_result ?? task.options.ignoreResult) return null;
    return this.#encode(job, body, "RETRY", error, traceback, children);
  }

  /** The record of a message that could not be run at all. */
  async invalid(job: Job, error: WireError): Promise<ResultRecord | null> {
    if (job.message.headers.ignore_result === true) return null;
    return await this.#encode(job, null, "FAILURE", error, null, []);
  }

  async started(ready: Ready): Promise<void> {
    await this.state(ready, "STARTED", { pid: process.pid, hostname: ready.job.hostname });
  }

  /** A state of the task's own, such as PROGRESS. */
  async state(ready: Ready, state: string, meta: unknown, taskId?: string): Promise<void> {
    const { message } = ready.job;
    if (taskId !== undefined && taskId !== message.headers.id)
      return await this.foreign({ taskId, task: ready.task.name }, state, meta, null, message.properties.reply_to);
    const record = await this.#encode(ready.job, ready.body, state, meta, null, []);
    await (await this.#parts.backend(record.store)).store(record);
  }

  /**
   * Stores a result for a call other than the one running: the rest of a failed chain, a chord's
   * body. `task` names whose store it is for; `replyTo` is where its caller waits, who called the running task too.
   */
  async foreign(
    { taskId, task }: { readonly taskId: string; readonly task: string },
    state: string,
    result: unknown,
    traceback: string | null,
    replyTo: string | null = null,
  ): Promise<void> {
    const meta = createTaskMeta({
      task_id: taskId,
      status: state,
      result,
      traceback,
      children: [],
      date_done: isReady(state) ? formatIso(new Date()) : null,
    });
    await this.#storeNow(
      encodeRecord(meta, {
        serializer: this.#parts.settings.resultSerializer,
        replyTo,
        correlationId: taskId,
        store: this.#parts.storeOf(task),
      }),
    );
  }

  async #storeNow(record: ResultRecord | Promise<ResultRecord>): Promise<null> {
    await untilStored(this.#parts.backend, await record);
    return null;
  }

  /** Stores a record now that would have gone with its outcome; null, as nothing is left to store. */
  async keep(record: ResultRecord | null): Promise<null> {
    return record === null ? null : await this.#storeNow(record);
  }

  #encode(
    job: Job,
    body: Ready["body"] | null,
    state: string,
    result: unknown,
    traceback: string | null,
    children: readonly ResultTuple[],
  ): ResultRecord | Promise<ResultRecord> {
    const { headers, properties } = job.message;
    const { settings } = this.#parts;
    const final = state === "SUCCESS" || state === "FAILURE" || state === "REVOKED";
    const meta = createTaskMeta({
      task_id: headers.id,
      status: state,
      result,
      traceback,
      children,
      date_done: final ? formatIso(new Date()) : null,
      ...(headers.group === null ? {} : { group_id: headers.group }),
      ...(headers.parent_id === null ? {} : { parent_id: headers.parent_id }),
      ...(settings.resultExtended
        ? {
            name: headers.task,
            args: body?.[0] ?? null,
            kwargs: body?.[1] ?? null,
            worker: job.hostname,
            retries: headers.retries,
            queue: job.address.routingKey,
            ...stampsOf(headers),
          }
        : {}),
    });
    return encodeRecord(meta, {
      serializer: settings.resultSerializer,
      replyTo: properties.reply_to ?? null,
      correlationId: properties.correlation_id ?? null,
      store: this.#parts.storeOf(headers.task),
    });
  }
}

function stampsOf(headers: {
  readonly stamped_headers: readonly string[] | null;
  readonly stamps: Readonly<Record<string, unknown>>;
}): Record<string, unknown> {
  if (headers.stamped_headers === null || headers.stamped_headers.length === 0) return {};
  return { stamped_headers: headers.stamped_headers, ...headers.stamps };
}
