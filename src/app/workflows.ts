import { randomUUID } from "node:crypto";
import type { OpenBackend } from "../backend/backend.ts";
import { encodeRecord } from "../backend/record.ts";
import { callsOf } from "../canvas/follow-up.ts";
import type { Call, Plan } from "../canvas/plan.ts";
import { followWorkflow, type Progress, type WorkflowRecord } from "../canvas/progress.ts";
import { OperationalError, TaskRevokedError } from "../errors.ts";
import { encodeError } from "../protocol/exception.ts";
import { isReady } from "../protocol/states.ts";
import { createTaskMeta, type ResultTuple } from "../protocol/task-meta.ts";
import { decodeJson, encodeJson } from "../serialization/json.ts";
import type { CallSender } from "../task/sender.ts";
import { formatIso } from "../util/iso8601.ts";
import { type CallPlace, type CallPlacesParts, findCalls } from "./call-places.ts";

/** Bytes beyond which a workflow is not written down: it would cost more than it is worth. */
const longest = 4 << 20;

export interface WorkflowsParts extends CallPlacesParts {
  readonly backend: OpenBackend;
  /** URL of the store of this task's own; null where it has none. */
  readonly storeOf: (task: string) => string | null;
  readonly sender: () => CallSender;
  readonly serializer: () => string;
  readonly revoke: (ids: readonly string[], terminate: boolean) => Promise<void>;
}

/** How far a workflow is, and where each of its open calls is. */
export interface Shown extends Omit<Progress, "open"> {
  readonly open: readonly PlacedCall[];
  /** What could not be found out. */
  readonly doubts: readonly string[];
}

/** A call that should be under way. */
export interface PlacedCall {
  readonly id: string;
  readonly task: string;
  /** Of its result: PENDING, STARTED, RETRY … */
  readonly state: string;
  readonly place: CallPlace;
}

/** What `repair` has done. */
export interface Repaired {
  /** Calls sent again. */
  readonly sent: number;
  /** Calls told of a failure before them. */
  readonly told: number;
  /** Calls that are somewhere, and were left alone. */
  readonly left: readonly PlacedCall[];
}

export interface RepairOptions {
  /** Sends again whatever has not ended: also while messages wait, also what a worker has in hand. */
  readonly force?: boolean;
  /** Where calls go instead of where they were sent first. */
  readonly queue?: string;
  /** Told, before anything is mended, what could not be found out. */
  readonly onDoubt?: (doubt: string) => void;
}

/**
 * Workflows this and other clients of tq have sent, by the id of their result, of their first step
 * or of one of their chords: how far they are, and how a stuck one goes on. Known for as long as
 * results are kept; those that Python sent are not.
 */
export class Workflows {
  readonly #parts: WorkflowsParts;

  constructor(parts: WorkflowsParts) {
    this.#parts = parts;
  }

  /** Writes a workflow down when it is sent. A store that cannot costs the workflow nothing. */
  async note(plan: Plan): Promise<void> {
    const [first] = plan.calls;
    if (first === undefined || (plan.chords.length === 0 && !plan.calls.some((call) => call.options.chain))) return;
    const record: WorkflowRecord = {
      sent: formatIso(new Date()),
      calls: plan.calls,
      chords: plan.chords,
      result: plan.result,
    };
    const [[id]] = plan.result;
    const others = [...plan.chords.map(({ groupId }) => groupId), ...plan.calls.slice(0, 1).map(idOf)];
    try {
      const text = encodeJson(record);
      if (text.length > longest) return;
      const backend = await this.#parts.backend();
      await backend.saveWorkflow(id, text);
      for (const other of new Set(others)) if (other !== id) await backend.saveWorkflow(other, encodeJson(id));
    } catch {
      // It is sent all the same: only `tq canvas` will not know it.
    }
  }

  /** How far a workflow is, and where its open calls are; undefined for one nothing is known of. Takes a second at most. */
  async show(id: string): Promise<Shown | undefined> {
    const record = await this.#record(id);
    if (record === undefined) return undefined;
    const progress = await this.#follow(record);
    const { places, doubts } = await findCalls(this.#parts, progress.open.map(callOf));
    return { ...progress, open: progress.open.map((call) => placed(call, places)), doubts };
  }

  /**
   * Sends again what should be under way and is lost, and tells of failures nobody was told of. What waits in the
   * broker, is in somebody's hands, or in a dead one's and comes back, is left alone. Where the broker does not tell
   * (RabbitMQ) a call may still wait in a queue and would run twice, so this refuses while messages wait, unless `force`.
   */
  async repair(id: string, options: RepairOptions = {}): Promise<Repaired | undefined> {
    const record = await this.#record(id);
    if (record === undefined) return undefined;
    const first = await this.#follow(record);
    const { places, unsearched, doubts } = options.force
      ? { places: new Map<string, CallPlace>(), unsearched: [], doubts: [] }
      : await findCalls(this.#parts, first.open.map(callOf));
    for (const doubt of doubts) options.onDoubt?.(doubt);
    const missing = new Set(first.open.filter((call) => isMissing(places.get(call.id))).map((call) => call.id));
    // Once more: what ended while it was looked for is in no queue either.
    const { open, untold } = await this.#follow(record);
    const lost = open.filter((call) => missing.has(call.id));
    if (!options.force) await this.#assertNotWaiting(lost, places, unsearched);
    const storeOf = this.#stores(record);
    for (const { id: taskId, because } of untold) await this.#store(storeOf(taskId), taskId, "FAILURE", because.result);
    for (const { plan } of lost) {
      const calls = plan.calls.map((call) =>
        options.queue === undefined
          ? call
          : { ...call, options: { ...(elsewhere(call.options, options.queue) as object), queue: options.queue } },
      );
      await this.#parts.sender().sendPlan({ ...plan, calls });
    }
    const left = open.filter((call) => places.has(call.id) && !missing.has(call.id));
    return { sent: lost.length, told: untold.length, left: left.map((call) => placed(call, places)) };
  }

  /** Revokes everything that has not ended, and says so in its results; how many those were. */
  async cancel(id: string, options: { readonly terminate?: boolean } = {}): Promise<number | undefined> {
    const record = await this.#record(id);
    if (record === undefined) return undefined;
    const ids = [...new Set([...allOf(record.result), ...record.calls.map(idOf)])];
    const storeOf = this.#stores(record);
    const metas = await Promise.all(ids.map(async (one) => (await this.#parts.backend(storeOf(one))).load(one)));
    const left = ids.filter((_, index) => !isReady(metas[index]?.status ?? "PENDING"));
    if (left.length === 0) return 0;
    await this.#parts.revoke(left, options.terminate ?? false);
    const error = encodeError(new TaskRevokedError("canceled"));
    for (const one of left) await this.#store(storeOf(one), one, "REVOKED", error);
    return left.length;
  }

  async #assertNotWaiting(
    lost: Progress["open"],
    places: ReadonlyMap<string, CallPlace>,
    unsearched: readonly string[],
  ): Promise<void> {
    const untold = lost.some(({ id }) => places.get(id)?.kind === "untold");
    const broker = await this.#parts.broker();
    for (const queue of untold ? this.#parts.queuesOf(lost.map(callOf)) : lost.length > 0 ? unsearched : []) {
      const size = await broker.size(queue);
      if (size === 0) continue;
      throw new OperationalError(
        `${size} ${size === 1 ? "message waits" : "messages wait"} in the queue ${queue}: what seems lost may be among them. ` +
          "Try again when they are gone, or force it and have it run twice",
      );
    }
  }

  async #record(id: string, depth = 0): Promise<WorkflowRecord | undefined> {
    const text = await (await this.#parts.backend()).loadWorkflow(id);
    if (text === undefined) return undefined;
    const found = decodeJson(text);
    return typeof found === "string" && depth === 0 ? this.#record(found, 1) : (found as WorkflowRecord);
  }

  async #follow(record: WorkflowRecord): Promise<Progress> {
    const storeOf = this.#stores(record);
    return await followWorkflow(record, async (id) => (await this.#parts.backend(storeOf(id))).load(id), randomUUID);
  }

  /** The store of each call's own, by its id. */
  #stores(record: WorkflowRecord): (id: string) => string | null {
    const tasks = new Map(record.calls.flatMap(callsOf).map(({ taskId, task }) => [taskId, task]));
    return (id) => this.#parts.storeOf(tasks.get(id) ?? "");
  }

  async #store(store: string | null, id: string, state: string, result: unknown): Promise<void> {
    const meta = createTaskMeta({ task_id: id, status: state, result, date_done: formatIso(new Date()) });
    const options = { serializer: this.#parts.serializer(), replyTo: null, correlationId: id };
    const backend = await this.#parts.backend(store);
    await backend.store(await encodeRecord(meta, options));
  }
}

/** What a call carries along, with the queues named in it changed. */
function elsewhere(value: unknown, queue: string): unknown {
  if (Array.isArray(value)) return value.map((one) => elsewhere(one, queue));
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  const entries = Object.entries(value).map(([key, one]) => [key, elsewhere(one, queue)] as const);
  const copy = Object.fromEntries(entries) as { subtask_type?: unknown; options?: { queue?: unknown } };
  if ("subtask_type" in copy && copy.options?.queue !== undefined) copy.options.queue = queue;
  return copy;
}

/** The first step of what would send it again: the call itself. */
const callOf = ({ plan }: Progress["open"][number]): Call => plan.calls[0] as Call;

const placed = ({ id, task, state }: Progress["open"][number], places: ReadonlyMap<string, CallPlace>): PlacedCall => ({
  id,
  task,
  state,
  place: places.get(id) ?? { kind: "lost" },
});

/** Whether it is to be sent again; one nobody has looked for is. */
const isMissing = (place: CallPlace | undefined): boolean =>
  place === undefined || place.kind === "lost" || place.kind === "untold";

const idOf = (call: { readonly options: Readonly<Record<string, unknown>> }): string => String(call.options.task_id);

/** Ids of all calls a handle knows. */
function allOf([[id, parent], children]: ResultTuple): readonly string[] {
  return [...(parent === null ? [] : allOf(parent)), ...(children === null ? [id] : children.flatMap(allOf))];
}
