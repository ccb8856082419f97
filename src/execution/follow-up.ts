import { randomUUID } from "node:crypto";
import type { ChordPart, ResultBackend } from "../backend/backend.ts";
import { joinChord } from "../backend/chord-join.ts";
import type { ResultRecord } from "../backend/record.ts";
import {
  type EndedTask,
  failedChainIds,
  planChordBody,
  planChordErrbacks,
  planErrbacks,
  planSuccess,
} from "../canvas/follow-up.ts";
import type { Plan } from "../canvas/plan.ts";
import { signatureList } from "../canvas/signature.ts";
import type { Settings } from "../config/settings.ts";
import { ChordError, OperationalError, TimeoutError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { decodeError, encodeError, errorRepr, type WireError } from "../protocol/exception.ts";
import { leavesOf, structured } from "../protocol/result-tuple.ts";
import type { SignatureDict } from "../protocol/signature.ts";
import { PROPAGATE_STATES } from "../protocol/states.ts";
import type { TaskBody, TaskMessage } from "../protocol/task-message.ts";
import type { TaskContext } from "../task/context.ts";
import { type CurrentRun, currentRun } from "../task/current.ts";
import type { CallSender } from "../task/sender.ts";
import type { Task } from "../task/task.ts";
import { longestTimerMs } from "../util/longest-timer.ts";
import { blankRequest } from "./blank-request.ts";
import { type Followers, sentAtOnce } from "./hand-over.ts";
import type { Ready } from "./ready.ts";
import type { Recorder } from "./record.ts";
import { RunningTask } from "./task-context.ts";
import { untilAnswered } from "./until-stored.ts";

export interface FollowUpParts {
  readonly settings: Settings;
  readonly backend: () => Promise<ResultBackend>;
  readonly sender: CallSender;
  readonly logger: Logger;
  /** The task of an errback that is called here and now (protocol 5.7); undefined for one that gets a message. */
  readonly inlineErrback?: (errback: SignatureDict) => Task | undefined;
}

/** A task that ended, as far as what follows it is concerned. */
export interface Ended {
  readonly message: TaskMessage;
  readonly body: TaskBody;
}

/**
 * What has to happen after a task's end: callbacks, the next step of a chain, its part in a
 * chord, errbacks. Order is normative (protocol 5.2): whatever may be read by a follower is
 * stored before the follower is sent.
 */
export class FollowUp {
  readonly #parts: FollowUpParts;
  readonly #recorder: Recorder;

  constructor(parts: FollowUpParts, recorder: Recorder) {
    this.#parts = parts;
    this.#recorder = recorder;
  }

  /** Undefined when nothing follows, so that a plain task pays nothing. */
  afterSuccess(
    ready: Ready,
    run: Pick<CurrentRun, "priority" | "children">,
    value: unknown,
    followers: Followers,
  ): Promise<void> | undefined {
    const [, , embed] = ready.body;
    if (embed.callbacks === null && (embed.chain === null || embed.chain.length === 0) && embed.chord === null)
      return undefined;
    return this.#afterSuccess(ready, run, value, followers);
  }

  async #afterSuccess(
    ready: Ready,
    run: Pick<CurrentRun, "priority" | "children">,
    value: unknown,
    followers: Followers,
  ): Promise<void> {
    const { message } = ready.job;
    const [, , embed] = ready.body;
    const priority = this.#parts.settings.taskInheritParentPriority ? run.priority : null;
    const { plans, children } = planSuccess(message.headers, embed, value, { priority, newId: randomUUID });
    run.children.push(...children);
    await this.#send(plans, followers);
    if (embed.chord !== null) {
      // A part counts only once its own result is kept: whoever completes the chord may look.
      await this.#recorder.success(ready, value, run.children, true);
      await this.#chordPart({ message, body: ready.body }, "SUCCESS", value, followers);
    }
  }

  /** Stores the failure, or hands its record on when nothing depends on it. */
  async afterFailure(
    ready: Ready,
    run: CurrentRun,
    context: TaskContext,
    thrown: unknown,
    error: WireError,
    traceback: string,
    followers: Followers,
  ): Promise<ResultRecord | null> {
    const [, , embed] = ready.body;
    const followed = embed.chord !== null || (embed.chain?.length ?? 0) > 0 || (embed.errbacks?.length ?? 0) > 0;
    const record = await this.#recorder.failure(ready, error, traceback, run.children, followed);
    if (followed) {
      const inline = await this.failed({ message: ready.job.message, body: ready.body }, error, traceback, followers);
      for (const errback of inline) await this.#callErrback(errback, context, thrown, traceback);
    }
    return record;
  }

  /** One errback that throws does not keep the others from being called. */
  async #callErrback(
    errback: SignatureDict,
    context: TaskContext,
    thrown: unknown,
    traceback: string | null,
  ): Promise<void> {
    try {
      const task = this.#parts.inlineErrback?.(errback);
      await task?.run(context, [context.request, thrown, traceback, ...errback.args]);
    } catch (error) {
      this.#parts.logger.error({ err: error }, "errback %s failed", errback.task);
    }
  }

  /**
   * What follows a failure that is already stored: the part in a chord, the rest of the chain
   * (which fails with it), errbacks. Also for tasks the parent had to declare failed. Resolves
   * to the errbacks that are to be called rather than sent. Followers that make no sense are
   * logged and left: the failure itself is known, and no other try would make sense of them.
   */
  async failed(
    ended: Ended,
    error: WireError,
    traceback: string | null,
    followers: Followers = sentAtOnce(this.#parts.sender),
  ): Promise<readonly SignatureDict[]> {
    try {
      return await this.#failed(ended, error, traceback, followers);
    } catch (problem) {
      if (problem instanceof OperationalError) throw problem;
      const { task, id } = ended.message.headers;
      this.#parts.logger.error(`What follows ${task}[${id}] cannot be told of its failure: ${String(problem)}`);
      return [];
    }
  }

  /** The same for a task whose process is gone: errbacks that are called are called here, as Celery's parent does. */
  async interrupted(ended: Ended, thrown: Error): Promise<void> {
    const inline = await this.failed(ended, encodeError(thrown), null);
    if (inline.length === 0) return;
    const { headers } = ended.message;
    const [args, kwargs, embed] = ended.body;
    const context = this.#contextOf({
      task: headers.task,
      args,
      kwargs,
      options: { task_id: headers.id, root_id: headers.root_id, group_id: headers.group, link_error: embed.errbacks },
      subtask_type: null,
      immutable: false,
    });
    for (const errback of inline) await this.#callErrback(errback, context, thrown, null);
  }

  async #failed(
    ended: Ended,
    error: WireError,
    traceback: string | null,
    followers: Followers,
  ): Promise<readonly SignatureDict[]> {
    const [, , embed] = ended.body;
    if (embed.chord !== null) await this.#chordPart(ended, "FAILURE", error, followers);
    for (const step of failedChainIds(embed)) {
      await this.#recorder.foreign(step, "FAILURE", error, traceback, ended.message.properties.reply_to);
      if (step.chord === null || step.groupId === null) continue;
      const part: ChordPart = { taskId: step.taskId, index: step.groupIndex, state: "FAILURE", result: error };
      await this.#countPart(step.chord, step.groupId, part, ended.message.headers, followers);
    }
    const isInline = (errback: SignatureDict): boolean => this.#parts.inlineErrback?.(errback) !== undefined;
    const { plans, inline } = planErrbacks(ended.message.headers, embed, { newId: randomUUID, isInline });
    await this.#send(plans, followers);
    return inline;
  }

  /** A revoked or expired member of a chord counts as well (protocol 5.2). */
  async revoked(ended: Ended, error: WireError): Promise<void> {
    if (ended.body[2].chord !== null) await this.#chordPart(ended, "REVOKED", error, sentAtOnce(this.#parts.sender));
  }

  async #chordPart(ended: Ended, state: string, result: unknown, followers: Followers): Promise<void> {
    const { headers } = ended.message;
    const chord = ended.body[2].chord as SignatureDict;
    const groupId = headers.group ?? (chord.options?.group_id as string | undefined);
    if (!groupId) return;
    const part: ChordPart = { taskId: headers.id, index: headers.group_index, state, result };
    await this.#countPart(chord, groupId, part, headers, followers);
  }

  /** Counts a part in; whoever brings the last one sends the body, or fails it. */
  async #countPart(
    chord: SignatureDict,
    groupId: string,
    part: ChordPart,
    headers: EndedTask,
    followers: Followers,
  ): Promise<void> {
    const backend = await this.#parts.backend();
    if (!backend.features.chords) return; // celery.chord_unlock looks after it (protocol 8.3)
    // Counted once per task however often it is asked for; uncounted, the chord would wait for ever.
    const parts = await untilAnswered(() => backend.addChordPart(groupId, part));
    if (parts === undefined) return;
    await this.completeChord(chord, groupId, parts, headers, followers);
  }

  /** All parts are there: sends the body and forgets the chord, or fails it. */
  async completeChord(
    chord: SignatureDict,
    groupId: string,
    parts: readonly ChordPart[],
    headers: EndedTask,
    followers: Followers = sentAtOnce(this.#parts.sender),
  ): Promise<void> {
    const joined = joinChord(parts);
    if (joined.kind === "failed") {
      await this.failChord(chord, groupId, joined.error, headers, followers);
      return;
    }
    let results: readonly unknown[];
    try {
      results = await this.#resultsOf(groupId, parts, joined.results);
    } catch (problem) {
      const error = new ChordError(`Join error: ${errorRepr(problem)}`);
      await this.failChord(chord, groupId, error, headers, followers);
      return;
    }
    try {
      await this.#send([planChordBody(chord, results, headers, { newId: randomUUID })], followers);
    } catch (problem) {
      if (problem instanceof OperationalError) throw problem;
      // Results that are too large together, a body that cannot be read: no other try would help.
      const error = new ChordError(`Callback error: ${errorRepr(problem)}`);
      await this.failChord(chord, groupId, error, headers, followers);
      return;
    }
    await followers.fired(groupId, async () => (await this.#parts.backend()).closeChord(groupId));
  }

  /**
   * What the body is called with. A header with members that end in groups was saved when it was sent, by tq or by
   * Celery: then each of those stands for a list (protocol 8.2). Throws when a call of it that was not counted has
   * no result within `resultChordJoinTimeout`, or has failed.
   */
  async #resultsOf(
    groupId: string,
    parts: readonly ChordPart[],
    flat: readonly unknown[],
  ): Promise<readonly unknown[]> {
    const backend = await this.#parts.backend();
    const saved = await untilAnswered(() => backend.loadGroup(groupId));
    if (saved === undefined) return flat;
    const values = new Map(parts.map(({ taskId, result }) => [taskId, result]));
    const missing = leavesOf(saved).filter((id) => !values.has(id));
    const clock = new AbortController();
    const timer = setTimeout(
      () => clock.abort(new TimeoutError("The operation timed out.")),
      Math.min(this.#parts.settings.resultChordJoinTimeout * 1000, longestTimerMs),
    );
    try {
      for await (const meta of missing.length === 0 ? [] : backend.watch(missing, { signal: clock.signal })) {
        if (PROPAGATE_STATES.has(meta.status)) throw decodeError(meta.result, meta.traceback, new Map());
        values.set(meta.task_id, meta.result);
      }
    } finally {
      clearTimeout(timer);
    }
    return structured(saved, values) as readonly unknown[];
  }

  /**
   * The body will not be called: its result says why, its errbacks are called in its name, and a
   * chord around it, or a chain behind it, fails with it (protocol 8.2).
   */
  async failChord(
    chord: SignatureDict,
    groupId: string,
    thrown: ChordError,
    headers: EndedTask,
    followers: Followers = sentAtOnce(this.#parts.sender),
  ): Promise<void> {
    this.#parts.logger.error("Chord '%s' raised: %s", groupId, thrown.message);
    const error = encodeError(thrown);
    const isInline = (errback: SignatureDict): boolean => this.#parts.inlineErrback?.(errback) !== undefined;
    const { plans, inline, failed } = planChordErrbacks(chord, headers, { newId: randomUUID, isInline });
    for (const task of failed) await this.#recorder.foreign(task, "FAILURE", error, null);
    await this.#send(plans, followers);
    for (const { errback, failed: body } of inline) {
      await this.#callErrback(errback, this.#contextOf(body), thrown, null);
    }
    for (const task of failed) {
      if (task.chord === null || task.groupId === null || task.groupId === groupId) continue;
      const part: ChordPart = { taskId: task.taskId, index: task.groupIndex, state: "FAILURE", result: error };
      await this.#countPart(task.chord, task.groupId, part, headers, followers);
    }
  }

  /** What an errback sees of a call that never ran, or whose process is gone. */
  #contextOf({ task, args, kwargs, options }: SignatureDict): TaskContext {
    const request = blankRequest({
      id: String(options.task_id ?? ""),
      task,
      args,
      kwargs,
      rootId: typeof options.root_id === "string" ? options.root_id : null,
      group: typeof options.group_id === "string" ? options.group_id : null,
      errbacks: signatureList(options.link_error),
    });
    return new RunningTask({
      name: task,
      task: {},
      request: () => request,
      logger: this.#parts.logger,
      storeState: async () => undefined,
      sendEvent: async () => undefined,
    });
  }

  /** The run is left out of their context; the plan already says who their parent is. */
  async #send(plans: readonly Plan[], followers: Followers): Promise<void> {
    for (const plan of plans) {
      const calls = plan.calls.map((call) => ({ ...call, options: { ...call.options, add_to_parent: false } }));
      await currentRun.exit(() => followers.plan({ ...plan, calls }));
    }
  }
}
