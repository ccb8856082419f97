import { randomUUID } from "node:crypto";
import type { OpenBackend, ResultBackend } from "../backend/backend.ts";
import { openChord } from "../backend/chord-join.ts";
import { createBackend } from "../backend/connect.ts";
import { defaultBackendOptions } from "../backend/options.ts";
import type { Call, Plan } from "../canvas/plan.ts";
import type { Settings } from "../config/settings.ts";
import type { Executor } from "../execution/executor.ts";
import { type Logger, silentLogger } from "../log.ts";
import type { SignatureDict } from "../protocol/signature.ts";
import { createTaskHeaders, type Embed } from "../protocol/task-message.ts";
import { encodeBody, normalizeAccept } from "../serialization/registry.ts";
import { currentRun } from "../task/current.ts";
import type { TaskRegistry } from "../task/registry.ts";
import type { CallSender } from "../task/sender.ts";
import { argsRepr, kwargsRepr } from "../util/repr.ts";
import { resultFromTuple } from "./handles.ts";
import { AsyncResult } from "./result.ts";
import type { ErrorRegistry, ResultSource } from "./result-handle.ts";

/** The parts of an app eager calls need. */
export interface EagerHost {
  readonly conf: { readonly settings: Settings };
  readonly tasks: TaskRegistry;
  readonly errors: ErrorRegistry;
  readonly backend: OpenBackend;
  readonly executor: (options: {
    readonly logger: Logger;
    readonly sender: CallSender;
    readonly backend: () => Promise<ResultBackend>;
  }) => Executor;
}

/**
 * Calls that run here and now instead of being sent: `apply()` and `taskAlwaysEager` (inventory
 * B48, L1). Arguments and results pass the serializers as they would on their way; retries run at
 * once; callbacks, chains and chords are followed. Results are kept in memory, where `get()` and
 * whatever follows a task finds them as it finds others in their store.
 */
export class Eager implements CallSender {
  readonly #app: EagerHost;
  #backend: Promise<ResultBackend> | undefined;
  /** Where results of eager calls are read. */
  readonly source: ResultSource;

  constructor(app: EagerHost) {
    this.#app = app;
    this.source = {
      backend: () => this.backend(),
      errors: app.errors,
      handle: (tuple) => resultFromTuple(tuple, this.source),
      // What was called has run: nothing is left to be kept from it.
      revoke: async () => undefined,
      revokeByStamps: async () => undefined,
      mark: async () => undefined,
    };
  }

  backend(): Promise<ResultBackend> {
    this.#backend ??= createBackend(`cache+memory://eager-${randomUUID()}`, {
      ...defaultBackendOptions,
      serializer: this.#app.conf.settings.resultSerializer,
      accept: anyContent,
    });
    return this.#backend;
  }

  /** Runs the calls one after another; with `propagate` the first failure is thrown. */
  async results(
    calls: readonly Call[],
    propagate: boolean = this.#app.conf.settings.taskEagerPropagates,
  ): Promise<AsyncResult[]> {
    const results: AsyncResult[] = [];
    for (const call of calls) {
      const id = await this.send(call);
      const meta = await (await this.backend()).load(id);
      const known = meta === undefined ? {} : { known: meta };
      const result = new AsyncResult(id, this.source, { ...known, ignored: meta === undefined });
      if (propagate && meta?.status === "FAILURE") await result.get({ disableSyncSubtasks: false });
      results.push(result);
    }
    return results;
  }

  async send(call: Call): Promise<string> {
    const { settings } = this.#app.conf;
    const { options } = call;
    const id = textOr(options.task_id, randomUUID());
    const task = this.#app.tasks.find(call.task);
    const run = currentRun.getStore();
    if (run && options.add_to_parent !== false) run.children.push([[id, null], null]);
    const executor = this.#app.executor({ logger: silentLogger, sender: this, backend: () => this.backend() });
    const embed: Embed = {
      callbacks: listOf(options.link),
      errbacks: listOf(options.link_error),
      chain: (options.chain as readonly SignatureDict[] | undefined) ?? null,
      chord: (options.chord as SignatureDict | undefined) ?? null,
    };
    const headers = createTaskHeaders({
      task: call.task,
      id,
      retries: typeof options.retries === "number" ? options.retries : 0,
      root_id: textOr(options.root_id, run?.rootId ?? id),
      parent_id: textOr(options.parent_id, run?.id ?? null),
      group: textOr(options.group_id, null),
      group_index: typeof options.group_index === "number" ? options.group_index : null,
      ignore_result: typeof options.ignore_result === "boolean" ? options.ignore_result : null,
      replaced_task_nesting: typeof options.replaced_task_nesting === "number" ? options.replaced_task_nesting : 0,
      shadow: textOr(options.shadow, null),
      argsrepr: textOr(options.argsrepr, argsRepr(call.args)),
      kwargsrepr: textOr(options.kwargsrepr, kwargsRepr(call.kwargs)),
      origin: "eager",
      ...stampsOf(options),
    });
    const serializer = textOr(options.serializer, task.options.serializer) ?? settings.taskSerializer;
    const { body, contentType, contentEncoding } = await encodeBody([call.args, call.kwargs, embed], serializer, null);
    const ready = await executor.prepare({
      message: {
        headers: { ...(options.headers as object | undefined), ...headers },
        properties: typeof options.priority === "number" ? { priority: options.priority } : {},
        contentType,
        contentEncoding,
        body,
      },
      address: {
        exchange: textOr(options.exchange, ""),
        routingKey: textOr(options.routing_key, textOr(options.queue, "eager")),
      },
      queue: "eager",
      redelivered: false,
      hostname: "eager",
      timeLimit: null,
      softTimeLimit: null,
      isEager: true,
    });
    const outcome = ready.kind === "ready" ? await executor.run(ready) : ready;
    // The last try has stored what became of a retried call.
    if (outcome.kind === "retry" || !("record" in outcome) || outcome.record === null) return id;
    await (await this.backend()).store(outcome.record);
    if (task.options.storeEagerResult) await (await this.#app.backend(task.options.backend)).store(outcome.record);
    return id;
  }

  async sendPlan(plan: Plan): Promise<void> {
    const backend = await this.backend();
    for (const chord of plan.chords) await openChord(backend, chord);
    for (const call of plan.calls) await this.send(call);
  }
}

function stampsOf(options: Call["options"]): { stamped_headers?: readonly string[]; stamps?: Record<string, unknown> } {
  if (!Array.isArray(options.stamped_headers)) return {};
  const names = options.stamped_headers as readonly string[];
  return { stamped_headers: names, stamps: Object.fromEntries(names.map((name) => [name, options[name]])) };
}

/** What is decoded was encoded by this very process. */
const anyContent = normalizeAccept(["json", "yaml", "msgpack", "pickle"]);

function textOr<T extends string | null>(value: unknown, fallback: T): string | T {
  return typeof value === "string" ? value : fallback;
}

function listOf(value: unknown): readonly SignatureDict[] | null {
  if (value === undefined || value === null) return null;
  return Array.isArray(value) ? (value as readonly SignatureDict[]) : [value as SignatureDict];
}
