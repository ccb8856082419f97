import { randomUUID } from "node:crypto";
import { chordBody, isChord } from "../canvas/chord.ts";
import { callsOf, failedBodyIds } from "../canvas/follow-up.ts";
import { freeze } from "../canvas/freeze.ts";
import { fromDict } from "../canvas/from-dict.ts";
import { createGroup } from "../canvas/group.ts";
import { withHeaderErrbacks } from "../canvas/header-errbacks.ts";
import { isChunks } from "../canvas/map.ts";
import { type Plan, planSignature } from "../canvas/plan.ts";
import { signatureList } from "../canvas/signature.ts";
import { endsInGroup, simplify } from "../canvas/simplify.ts";
import type { Settings } from "../config/settings.ts";
import type { SignatureDict } from "../protocol/signature.ts";
import type { ResultTuple } from "../protocol/task-meta.ts";
import { currentRun } from "../task/current.ts";
import type { CallSender } from "../task/sender.ts";
import { wrapSignature } from "./canvas.ts";
import type { AnySignature } from "./canvas-types.ts";
import { resultFromTuple } from "./handles.ts";
import { AsyncResult } from "./result.ts";
import type { ResultHandle, ResultSource } from "./result-handle.ts";
import { GroupResult } from "./result-set.ts";
import type { CanvasHost, SignatureCall } from "./signature.ts";

export interface CanvasParts {
  readonly settings: () => Settings;
  readonly source: ResultSource;
  /** Made ready to send: with the reply queue of an rpc store there. `single` is the task of what is but one call. */
  readonly open: (single: string | null) => Promise<{ readonly sender: CallSender; readonly source: ResultSource }>;
  /** `reply_to` of what is frozen; empty for stores that need none. */
  readonly replyTo: () => string;
  readonly runTask: CanvasHost["runTask"];
  /** Writes down what is sent, for `tq canvas`. */
  readonly note: (plan: Plan) => Promise<void>;
  /** URLs of stores tasks have of their own. */
  readonly stores: () => ReadonlySet<string>;
  /** Where results of a task with a store of its own are found; undefined for any other. */
  readonly sourceOf: (task: string) => ResultSource | undefined;
  /** Whether calls of this task store no result unless they say otherwise. */
  readonly ignoresResult: (task: string) => boolean;
}

/** Plans and sends signatures for one app. */
export class AppCanvas implements CanvasHost {
  readonly #parts: CanvasParts;
  readonly runTask: CanvasHost["runTask"];

  constructor(parts: CanvasParts) {
    this.#parts = parts;
    this.runTask = parts.runTask;
  }

  async applySignature(signature: SignatureDict, call: SignatureCall): Promise<ResultHandle> {
    const { sender, source } = await this.#parts.open(signature.subtask_type === null ? signature.task : null);
    // These are of this process: what travels inside of messages does without them.
    const { producer, connection, signal, ...options } = call.options;
    const whole = this.errbacksOnHeaders()
      ? withHeaderErrbacks(fromDict(signature), signatureList(options.link_error))
      : signature;
    const planned = planSignature(whole, {
      ...call,
      options,
      newId: randomUUID,
      replyTo: this.#parts.replyTo() || undefined,
    });
    const plan = producer || connection || signal ? sentWith(planned, { producer, connection, signal }) : planned;
    await Promise.all([
      sender.sendPlan(asChildren(plan, call.options.add_to_parent !== false)),
      this.#parts.settings().taskAlwaysEager ? undefined : this.#parts.note(plan),
    ]);
    return this.#handle(signature, plan, source);
  }

  freezeSignature(signature: SignatureDict, id: string | undefined): readonly [SignatureDict, ResultHandle] {
    const simple = simplify(fromDict(signature)) ?? createGroup([]);
    const { signature: frozen, result } = freeze(simple, { id }, { newId: randomUUID });
    return [
      frozen,
      this.#shaped(
        signature,
        resultFromTuple(
          result(null),
          this.#parts.source,
          this.#own(() => failedBodyIds(frozen)),
        ),
      ),
    ];
  }

  errbacksOnHeaders(): boolean {
    return this.#parts.settings().taskAllowErrorCbOnChordHeader;
  }

  wrap(signature: SignatureDict): AnySignature {
    return wrapSignature(signature, this);
  }

  #handle(signature: SignatureDict, plan: Plan, source: ResultSource): ResultHandle {
    const [only] = plan.calls;
    if (plan.calls.length === 0 && signature.subtask_type === "chain") {
      return new AsyncResult(plan.result[0][0], source, { ignored: true });
    }
    if (signature.subtask_type === null && only !== undefined) {
      const ignored = (only.options.ignore_result ?? this.#parts.ignoresResult(only.task)) === true;
      if (ignored) return new AsyncResult(plan.result[0][0], source, { ignored });
    }
    return this.#shaped(
      signature,
      resultFromTuple(
        plan.result,
        source,
        this.#own(() => plan.calls.flatMap(callsOf)),
      ),
    );
  }

  /** Which of these calls' results are kept elsewhere, by id. */
  #own(calls: () => readonly { readonly taskId: string; readonly task: string }[]): ReadonlyMap<string, ResultSource> {
    const { stores, sourceOf } = this.#parts;
    const own = new Map<string, ResultSource>();
    if (stores().size === 0) return own;
    for (const { taskId, task } of calls()) {
      const source = sourceOf(task);
      if (source !== undefined) own.set(taskId, source);
    }
    return own;
  }

  /**
   * A group of one behind another step is sent as that one, as with Celery; who holds the
   * handle still gets a list of one, however many there happened to be.
   */
  #shaped(signature: SignatureDict, handle: ResultHandle): ResultHandle {
    if (handle instanceof GroupResult || !comesToMany(signature)) return handle;
    return new GroupResult(handle.id, [handle], this.#parts.source, { parent: handle.parent });
  }
}

/** Every call of a plan with further options. */
function sentWith(plan: Plan, options: Readonly<Record<string, unknown>>): Plan {
  return { ...plan, calls: plan.calls.map((call) => ({ ...call, options: { ...call.options, ...options } })) };
}

function comesToMany(signature: SignatureDict): boolean {
  if (isChunks(signature)) return true;
  if (isChord(signature)) return comesToMany(chordBody(signature));
  if (signature.subtask_type === "chain") {
    const tasks = signature.kwargs.tasks as readonly SignatureDict[];
    const last = tasks.at(-1);
    return last !== undefined && comesToMany(last);
  }
  return endsInGroup(signature);
}

/** Inside a task the whole of it counts as one child, not each of its calls. */
function asChildren(plan: Plan, listed: boolean): Plan {
  const run = currentRun.getStore();
  if (run === undefined) return plan;
  if (listed) run.children.push(...(plan.children as ResultTuple[]));
  const calls = plan.calls.map((call) => ({ ...call, options: { ...call.options, add_to_parent: false } }));
  return { ...plan, calls };
}
