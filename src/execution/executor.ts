import type { OpenBackend } from "../backend/backend.ts";
import type { Settings } from "../config/settings.ts";
import { BackendConnectionError, DecodeError, InvalidTaskError, NotRegistered } from "../errors.ts";
import type { Logger } from "../log.ts";
import { encodeError, errorRepr } from "../protocol/exception.ts";
import { readTaskBody } from "../protocol/task-message.ts";
import type { ResultTuple, TaskMeta } from "../protocol/task-meta.ts";
import { decodeBody } from "../serialization/registry.ts";
import type { UnlockParts } from "../task/chord-unlock.ts";
import type { TaskContext } from "../task/context.ts";
import { type CurrentRun, currentRun } from "../task/current.ts";
import type { HandlerName } from "../task/handlers.ts";
import { bindArguments } from "../task/parameters.ts";
import type { TaskRegistry } from "../task/registry.ts";
import { checkArguments, checkResult } from "../task/schema.ts";
import type { CallSender } from "../task/sender.ts";
import type { Signals } from "../task/signals.ts";
import type { Task } from "../task/task.ts";
import { tracing } from "../task/tracing.ts";
import { BufferPool } from "../util/buffer-pool.ts";
import { longestTimerMs } from "../util/longest-timer.ts";
import { pythonRepr } from "../util/repr.ts";
import { blankRequest } from "./blank-request.ts";
import { Branching } from "./branching.ts";
import { classify, type Verdict } from "./classify.ts";
import { FollowUp } from "./follow-up.ts";
import { type Followers, handedOver, sentAtOnce } from "./hand-over.ts";
import type { Job } from "./job.ts";
import type { Completed } from "./outcome.ts";
import type { Ready } from "./ready.ts";
import { Recorder } from "./record.ts";
import { overriddenLimit, requestSignature, retryCall, retryText } from "./retry.ts";
import type { RunHandle } from "./run-handle.ts";
import { type LogPlace, RunningTask, softLimitExceeded, taskRequest } from "./task-context.ts";
import { formatTraceback } from "./traceback.ts";
import { untilSent } from "./until-sent.ts";

export interface ExecutorParts {
  readonly registry: TaskRegistry;
  readonly settings: Settings;
  /** Content types that may be decoded. */
  readonly accept: ReadonlySet<string>;
  /** Opened when first needed: a plain task never does. */
  readonly backend: OpenBackend;
  readonly sender: CallSender;
  /** Whoever gets the outcome sends what follows; see `hand-over.ts`. Default false. */
  readonly handsOver?: boolean;
  readonly signals: Signals;
  /** Sends an event in the name of a node. */
  readonly sendEvent: (hostname: string, type: string, fields: Readonly<Record<string, unknown>>) => Promise<void>;
  readonly logger: Logger;
  /** Where that logs to, as tasks see it. */
  readonly logPlace?: LogPlace;
  readonly random?: () => number;
  /** When a task's code has ended, whichever way. */
  readonly onRunEnd?: (run: CurrentRun) => void;
}

/**
 * Runs one job to its end and makes the record of it: the only place that decodes arguments.
 * In two steps, because a message may only be accepted, and thereby acknowledged, once it is
 * known to be runnable.
 */
export class Executor {
  readonly #parts: ExecutorParts;
  readonly #recorder: Recorder;
  readonly #followUp: FollowUp;
  readonly #pool = new BufferPool();

  constructor(parts: ExecutorParts) {
    this.#parts = parts;
    this.#recorder = new Recorder({ ...parts, storeOf: (task) => parts.registry.storeOf(task) });
    this.#followUp = new FollowUp(
      { ...parts, inlineErrback: (errback) => inlineTask(parts.registry, errback.task) },
      this.#recorder,
    );
  }

  /** Decodes and binds. Never throws: what cannot be run is an `invalid` outcome with its reason. */
  prepare(job: Job): Ready | Completed | Promise<Ready | Completed> {
    try {
      const task = this.#parts.registry.get(job.message.headers.task);
      if (!task) throw new NotRegistered(job.message.headers.task);
      const decoded = decodeBody(job.message, this.#parts.accept, {
        maxBytes: this.#parts.settings.workerMaxBodySize,
        pool: this.#pool,
      });
      const ready =
        decoded instanceof Promise
          ? decoded.then((value) => this.#bind(job, task, value))
          : this.#bind(job, task, decoded);
      return ready instanceof Promise ? ready.catch((error: unknown) => this.#invalid(job, error)) : ready;
    } catch (error) {
      return this.#invalid(job, error);
    }
  }

  #bind(job: Job, task: Task, decoded: unknown): Ready | Promise<Ready> {
    const body = readTaskBody(decoded, job.message.headers);
    const values = bindArguments(task.name, task.parameters, body[0], body[1], task.options.typing);
    const bound = task.schemas.args === undefined ? values : checkArguments(task.name, task.schemas.args, values);
    if (!(bound instanceof Promise)) return { kind: "ready", job, task, body, bound };
    return bound.then((checked) => ({ kind: "ready", job, task, body, bound: checked }));
  }

  async #invalid(job: Job, error: unknown): Promise<Completed> {
    // Python raises TypeError for arguments that do not fit; a peer expects that class.
    const misfit = error instanceof InvalidTaskError && error.code === "TQ_ARGUMENTS";
    const shown = misfit ? new TypeError(error.message) : error;
    const reason = error instanceof DecodeError ? `Can't decode message body: ${error.message}` : messageOf(error);
    const wire = encodeError(shown);
    const record = await this.#recorder.invalid(job, wire);
    return { kind: "invalid", reason, record, ...(misfit || error instanceof NotRegistered ? { misfit: true } : {}) };
  }

  /** Sends the body of a chord whose parts are all there, or fails it. */
  completeChord(...chord: Parameters<UnlockParts["completeChord"]>): Promise<void> {
    return this.#followUp.completeChord(...chord);
  }

  /** Calls the function and sees its end through: follow-up messages, then the record. Never throws. */
  run(ready: Ready, handle?: RunHandle): Promise<Completed> {
    const { job } = ready;
    const isChecked =
      this.#parts.settings.workerDeduplicateSuccessfulTasks && job.redelivered && ready.task.options.acksLate;
    const work = () => (isChecked ? this.#runOnce(ready, handle) : this.#run(ready, handle));
    const end = tracing()?.process(job.message, job.queue, work) ?? work();
    return this.#parts.signals.has("taskInternalError") ? end.catch((error) => this.#broken(ready, error)) : end;
  }

  /**
   * Runs what has not succeeded in an earlier delivery (inventory G74). What has is not run again, but what
   * follows it may not have left before its worker died.
   */
  async #runOnce(ready: Ready, handle?: RunHandle): Promise<Completed> {
    const { job, task, body } = ready;
    const { id } = job.message.headers;
    const earlier = await this.#earlier(task, id);
    if (earlier?.status !== "SUCCESS") return await this.#run(ready, handle);
    this.#parts.logger.info(`Task ${task.name}[${id}] Task already completed successfully.`);
    const { result } = earlier;
    const followers = this.#followers(task);
    const [args, kwargs, embed] = body;
    // Sent at once, callbacks and the next step left before the result was stored.
    const left = this.#handsOver(task) ? embed : { ...embed, callbacks: null, chain: null };
    const run = { priority: job.message.properties.priority ?? null, children: [] };
    await this.#followUp.afterSuccess({ ...ready, body: [args, kwargs, left] }, run, result, followers);
    const shown = pythonRepr(result, { maxLength: task.options.resultReprMaxsize });
    return { kind: "success", runtime: 0, result: shown, record: null, ...followers.handOver() };
  }

  /** A store that is away says nothing. */
  async #earlier(task: Task, id: string): Promise<TaskMeta | undefined> {
    try {
      return await (await this.#parts.backend(task.options.backend)).load(id);
    } catch {
      return undefined;
    }
  }

  async #run(ready: Ready, handle?: RunHandle): Promise<Completed> {
    const { job, task, body, bound } = ready;
    const [args, kwargs, embed] = body;
    const { headers, properties } = job.message;
    const children: ResultTuple[] = [];
    const run: CurrentRun = {
      id: headers.id,
      name: task.name,
      context: () => context,
      rootId: headers.root_id ?? headers.id,
      priority: properties.priority ?? null,
      children,
    };
    const ignoreResult = headers.ignore_result ?? task.options.ignoreResult;
    const context: RunningTask = new RunningTask({
      name: task.name,
      task: task.instance,
      request: () => taskRequest(job, args, kwargs, embed, ignoreResult, run, this.#parts.logPlace),
      logger: this.#parts.logger,
      sendEvent: (type, fields) => this.#parts.sendEvent(job.hostname, type, { uuid: headers.id, ...fields }),
      storeState: async (state, meta, taskId) => {
        if (!handle?.discarded) await this.#recorder.state(ready, state, meta, taskId);
      },
      sendRetry: async (retry) => {
        const verdict = this.#classify(retry, ready);
        if (verdict.kind !== "retry") throw verdict.kind === "failure" ? verdict.error : retry;
        await this.#parts.sender.send(untilSent(retryCall(job, body, verdict.options)));
      },
      branching: () => new Branching(this.#parts, ready, run),
      signature: (changes) => requestSignature(job, body, changes),
      state: async () => (await (await this.#parts.backend(task.options.backend)).load(headers.id))?.status,
      softLimit: job.softTimeLimit,
    });
    handle?.attach((reason) => context.abort(reason));
    const { signals } = this.#parts;
    const { handlers } = task;
    const started = performance.now();
    const softTimer = this.#armSoftLimit(job, context);
    let state = "SUCCESS";
    let outcome: Completed;
    let shown: unknown;
    try {
      if (task.options.trackStarted && !ignoreResult) await this.#tellStarted(ready);
      if (signals.has("taskPrerun")) await signals.send("taskPrerun", { task: task.name, request: context.request });
      if (handlers.beforeStart) await currentRun.run(run, handlers.beforeStart, context);
      const returned = currentRun.run(run, call, task, context, bound);
      let value = isThenable(returned) ? await returned : returned;
      if (task.schemas.returns) value = await checkResult(task.name, task.schemas.returns, value);
      clearTimeout(softTimer);
      this.#parts.onRunEnd?.(run);
      if (handle) {
        if (handle.discarded) return { kind: "ignore", runtime: (performance.now() - started) / 1000 };
        handle.ended = true;
      }
      shown = value;
      const runtime = (performance.now() - started) / 1000;
      const followers = this.#followers(task);
      const followed = this.#followUp.afterSuccess(ready, run, value, followers);
      if (followed !== undefined) await followed;
      const record =
        embed.chord === null ? this.#recorder.success(ready, value, task.options.trail ? children : [], false) : null;
      outcome = {
        kind: "success",
        runtime,
        result: pythonRepr(value, { maxLength: task.options.resultReprMaxsize }),
        record: record instanceof Promise ? await record : record,
        ...followers.handOver(),
      };
    } catch (thrown) {
      clearTimeout(softTimer);
      this.#parts.onRunEnd?.(run);
      const runtime = (performance.now() - started) / 1000;
      if (handle) {
        if (handle.discarded) return { kind: "ignore", runtime };
        handle.ended = true;
      }
      const verdict = this.#classify(thrown, ready);
      shown = thrown;
      [state, outcome] = await this.#conclude(ready, run, context, verdict, runtime);
    }
    if (outcome.kind === "success") {
      // Whoever is told of a success may look at the result: it is stored first (inventory B73).
      if (handlers.onSuccess || handlers.afterReturn || signals.has("taskSuccess"))
        outcome = { ...outcome, record: await this.#recorder.keep(outcome.record) };
      if (handlers.onSuccess) await this.#handle("onSuccess", run, handlers.onSuccess, context, shown);
      if (signals.has("taskSuccess"))
        await signals.send("taskSuccess", { task: task.name, request: context.request, result: shown });
    }
    if (handlers.afterReturn && (outcome.kind === "success" || outcome.kind === "failure"))
      await this.#handle("afterReturn", run, handlers.afterReturn, context, state, shown);
    if (signals.has("taskPostrun")) {
      await signals.send("taskPostrun", { task: task.name, request: context.request, state, result: shown });
    }
    return outcome;
  }

  #classify(thrown: unknown, { job, task, body: [args, kwargs] }: Ready): Verdict {
    const { id, retries, argsrepr, kwargsrepr } = job.message.headers;
    const request = { id, retries, args, kwargs, argsrepr, kwargsrepr };
    return classify(thrown, task, request, this.#parts.random ?? Math.random, overriddenLimit(job));
  }

  /**
   * With late acknowledgement and one store for all, what follows a task leaves with its result and
   * its acknowledgement: a crash runs the task again, and nothing has left twice. A task that was
   * acknowledged before cannot come again, so its followers leave as early as they can, and so do those
   * of one with a store of its own.
   */
  #followers(task: Task): Followers {
    const { sender } = this.#parts;
    const { makeReady, openChords } = sender;
    if (!this.#handsOver(task) || !makeReady || !openChords) return sentAtOnce(sender);
    return handedOver({ makeReady: makeReady.bind(sender), openChords: openChords.bind(sender) });
  }

  #handsOver({ options }: Task): boolean {
    const { handsOver = false, sender } = this.#parts;
    const isAble = sender.makeReady !== undefined && sender.openChords !== undefined;
    return handsOver && options.acksLate && options.backend === null && isAble;
  }

  /** The end of a task could not be dealt with; whoever runs the job deals with that. */
  async #broken({ job, task, body: [args, kwargs] }: Ready, error: unknown): Promise<never> {
    const { id, retries } = job.message.headers;
    const request = blankRequest({ id, task: task.name, args, kwargs, retries, calledDirectly: false });
    await this.#parts.signals.send("taskInternalError", { task: task.name, request, error });
    throw error;
  }

  /** A handler's own mistake is told, and changes nothing: the task has ended as it has. */
  async #handle<Rest extends readonly unknown[]>(
    name: HandlerName,
    run: CurrentRun,
    handler: (self: TaskContext, ...rest: Rest) => unknown,
    context: TaskContext,
    ...rest: Rest
  ): Promise<void> {
    try {
      await currentRun.run(run, handler, context, ...rest);
    } catch (error) {
      this.#parts.logger.error({ err: error }, "%s of task %s[%s] failed", name, context.name, context.request.id);
      await this.#tellInternal(context, error);
    }
  }

  /** Something went wrong around a task that is not the task's own error. */
  async #tellInternal(context: TaskContext, error: unknown): Promise<void> {
    const { signals } = this.#parts;
    if (signals.has("taskInternalError"))
      await signals.send("taskInternalError", { task: context.name, request: context.request, error });
  }

  async #conclude(
    ready: Ready,
    run: CurrentRun,
    context: TaskContext,
    verdict: Verdict,
    runtime: number,
  ): Promise<[string, Completed]> {
    const { signals } = this.#parts;
    const { job, task, body } = ready;
    switch (verdict.kind) {
      case "ignore":
        return ["IGNORED", { kind: "ignore", runtime }];
      case "reject":
        return ["REJECTED", { kind: "reject", runtime, requeue: verdict.requeue, reason: verdict.reason }];
      case "retry": {
        const followers = this.#followers(task);
        try {
          await currentRun.run(run, () => followers.send([retryCall(job, body, verdict.options)]));
        } catch (error) {
          // It can never be sent: whoever waits for the result is told, rather than left waiting.
          return await this.#conclude(ready, run, context, { kind: "failure", error, expected: false }, runtime);
        }
        const reason = verdict.reason ?? null;
        const traceback = formatTraceback(reason);
        const error = encodeError(reason ?? new Error(retryText(verdict.options, null)));
        let record = await this.#recorder.retry(ready, error, traceback, run.children);
        if (task.handlers.onRetry) {
          record = await this.#recorder.keep(record);
          await this.#handle("onRetry", run, task.handlers.onRetry, context, reason, traceback);
        }
        if (signals.has("taskRetry"))
          await signals.send("taskRetry", { task: task.name, request: context.request, reason });
        const why = reason === null ? null : errorRepr(error);
        const repr = retryText(verdict.options, why);
        const outcome = { kind: "retry", runtime, repr, reason: why ?? "None", traceback, record } as const;
        return ["RETRY", { ...outcome, ...followers.handOver() }];
      }
      case "failure": {
        const error = encodeError(verdict.error);
        const traceback = formatTraceback(verdict.error);
        const followers = this.#followers(task);
        let record = await this.#followUp.afterFailure(ready, run, context, verdict.error, error, traceback, followers);
        if (task.handlers.onFailure) {
          record = await this.#recorder.keep(record);
          await this.#handle("onFailure", run, task.handlers.onFailure, context, verdict.error, traceback);
        }
        if (signals.has("taskFailure"))
          await signals.send("taskFailure", { task: task.name, request: context.request, error: verdict.error });
        const [repr, expected] = [errorRepr(error), verdict.expected];
        const outcome = { kind: "failure", runtime, repr, traceback, expected, record } as const;
        return ["FAILURE", { ...outcome, ...followers.handOver() }];
      }
    }
  }

  /** STARTED is news and no result: a store that is away keeps no task from running. */
  async #tellStarted(ready: Ready): Promise<void> {
    try {
      await this.#recorder.started(ready);
    } catch (error) {
      if (!(error instanceof BackendConnectionError)) throw error;
      const { task, job } = ready;
      this.#parts.logger.warn(
        "the state STARTED of %s[%s] could not be stored: %s",
        task.name,
        job.message.headers.id,
        error.message,
      );
    }
  }

  #armSoftLimit(job: Job, context: RunningTask): NodeJS.Timeout | undefined {
    if (job.softTimeLimit === null) return undefined;
    const limit = job.softTimeLimit;
    return setTimeout(
      () => {
        this.#parts.logger.warn(
          `Soft time limit (${limit}s) exceeded for ${job.message.headers.task}[${job.message.headers.id}]`,
        );
        context.abort(softLimitExceeded(limit));
      },
      Math.min(limit * 1000, longestTimerMs),
    );
  }
}

/** Errbacks of the newer style take request, error and traceback, and are called where the task failed. */
export function inlineTask(registry: TaskRegistry, name: string): Task | undefined {
  const task = registry.get(name);
  return task && !task.options.bind && task.parameters.names.length > 1 ? task : undefined;
}

const call = (task: Task, context: TaskContext, bound: readonly unknown[]): unknown => task.run(context, bound);

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";

const messageOf = (error: unknown): string =>
  error instanceof Error ? `${error.name}: ${error.message}` : String(error);
