import { randomUUID } from "node:crypto";
import type { ResultBackend } from "../backend/backend.ts";
import { decodeRecord } from "../backend/record.ts";
import type { Call, Plan } from "../canvas/plan.ts";
import type { Settings } from "../config/settings.ts";
import type { Executor } from "../execution/executor.ts";
import type { Completed } from "../execution/outcome.ts";
import { type Logger, silentLogger } from "../log.ts";
import type { SignatureDict } from "../protocol/signature.ts";
import { createTaskHeaders, type Embed } from "../protocol/task-message.ts";
import type { TaskMeta } from "../protocol/task-meta.ts";
import { normalizeAccept } from "../serialization/registry.ts";
import { bindArguments } from "../task/parameters.ts";
import type { TaskRegistry } from "../task/registry.ts";
import type { CallSender } from "../task/sender.ts";
import { argsRepr, kwargsRepr } from "../util/repr.ts";
import { AsyncResult, type ResultSource } from "./result.ts";

/** The parts of an app eager calls need. */
export interface EagerHost {
  readonly conf: { readonly settings: Settings };
  readonly tasks: TaskRegistry;
  readonly backend: () => Promise<ResultBackend>;
  readonly executor: (options: { readonly logger: Logger; readonly sender: CallSender }) => Executor;
}

/**
 * `taskAlwaysEager`: calls run here, at once, instead of being sent. Retries and follow-ups run
 * here too, without their delays (inventory B48).
 */
export class EagerSender implements CallSender {
  readonly #app: EagerHost;
  readonly #source: ResultSource;
  readonly #metas = new Map<string, TaskMeta>();

  constructor(app: EagerHost, source: ResultSource) {
    this.#app = app;
    this.#source = source;
  }

  /** Runs the calls one after another; with `taskEagerPropagates` the first failure is thrown. */
  async results(calls: readonly Call[]): Promise<AsyncResult[]> {
    const results: AsyncResult[] = [];
    for (const call of calls) {
      const id = await this.send(call);
      const known = this.#metas.get(id);
      const result = new AsyncResult(id, this.#source, { ...(known ? { known } : {}), ignored: known === undefined });
      if (this.#app.conf.settings.taskEagerPropagates && known?.status === "FAILURE") await result.get();
      results.push(result);
    }
    return results;
  }

  async send(call: Call): Promise<string> {
    const { options } = call;
    const id = typeof options.task_id === "string" ? options.task_id : randomUUID();
    const task = this.#app.tasks.find(call.task);
    const executor = this.#app.executor({ logger: silentLogger, sender: this });
    const embed: Embed = {
      callbacks: (options.link as readonly SignatureDict[] | undefined) ?? null,
      errbacks: (options.link_error as readonly SignatureDict[] | undefined) ?? null,
      chain: (options.chain as readonly SignatureDict[] | undefined) ?? null,
      chord: null,
    };
    const headers = createTaskHeaders({
      task: call.task,
      id,
      retries: typeof options.retries === "number" ? options.retries : 0,
      argsrepr: argsRepr(call.args),
      kwargsrepr: kwargsRepr(call.kwargs),
    });
    const message = {
      headers: { ...headers },
      properties: {},
      contentType: "application/json",
      contentEncoding: "utf-8",
      body: "",
    };
    const outcome: Completed = await executor.run({
      kind: "ready",
      task,
      job: {
        message,
        address: { exchange: "", routingKey: "eager" },
        queue: "eager",
        redelivered: false,
        hostname: "eager",
        timeLimit: null,
        softTimeLimit: null,
      },
      body: [call.args, call.kwargs, embed],
      bound: bindArguments(task.name, task.parameters, call.args, call.kwargs, task.options.typing),
    });
    if ("record" in outcome && outcome.record !== null && outcome.kind !== "retry") {
      this.#metas.set(id, await decodeRecord(outcome.record, anyContent));
      if (task.options.storeEagerResult) await (await this.#app.backend()).store(outcome.record);
    }
    return id;
  }

  async sendPlan(plan: Plan): Promise<void> {
    for (const call of plan.calls) await this.send(call);
  }
}

/** The records were made by this very process. */
const anyContent = normalizeAccept(["json", "yaml", "msgpack", "pickle"]);
