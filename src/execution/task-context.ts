import { setTimeout as delay } from "node:timers/promises";
import { createSignature } from "../canvas/signature.ts";
import { ImproperlyConfigured, type Retry, SoftTimeLimitExceeded } from "../errors.ts";
import type { Logger } from "../log.ts";
import { callersHeaders } from "../protocol/callers-headers.ts";
import type { SignatureDict, SignatureLike } from "../protocol/signature.ts";
import type { Embed } from "../protocol/task-message.ts";
import type { RequestChanges, RetryOptions, TaskContext, TaskRequest } from "../task/context.ts";
import type { CurrentRun } from "../task/current.ts";
import { abortable } from "../util/abortable.ts";
import { longestTimerMs } from "../util/longest-timer.ts";
import type { Branching } from "./branching.ts";
import { RetryRequest } from "./classify.ts";
import type { Job } from "./job.ts";

/** Makes the request a task sees out of its message. */
export function taskRequest(
  job: Job,
  args: readonly unknown[],
  kwargs: Readonly<Record<string, unknown>>,
  embed: Embed,
  ignoreResult: boolean,
  run: CurrentRun,
  log: LogPlace = nowhere,
): TaskRequest {
  const { headers, properties } = job.message;
  return {
    id: headers.id,
    task: headers.task,
    args,
    kwargs,
    retries: headers.retries,
    isEager: job.isEager ?? false,
    calledDirectly: false,
    eta: headers.eta,
    expires: headers.expires,
    hostname: job.hostname,
    origin: headers.origin,
    deliveryInfo: {
      exchange: job.address.exchange,
      routingKey: job.address.routingKey,
      priority: properties.priority ?? null,
      redelivered: job.redelivered,
    },
    replyTo: properties.reply_to ?? null,
    correlationId: properties.correlation_id ?? null,
    timelimit: headers.timelimit,
    callbacks: embed.callbacks,
    errbacks: embed.errbacks,
    chain: embed.chain,
    chord: embed.chord,
    rootId: headers.root_id,
    parentId: headers.parent_id,
    group: headers.group,
    groupIndex: headers.group_index,
    shadow: headers.shadow,
    ignoreResult,
    replacedTaskNesting: headers.replaced_task_nesting,
    stamps: listed(headers.stamps),
    stampedHeaders: headers.stamped_headers,
    headers: callersHeaders(headers),
    get children() {
      return run.children.map((child) => child[0][0]);
    },
    properties: { ...properties },
    lang: headers.lang,
    argsrepr: headers.argsrepr,
    kwargsrepr: headers.kwargsrepr,
    utc: true,
    logfile: log.file,
    loglevel: log.level,
  };
}

/** Where a worker logs to, as its tasks see it. */
export interface LogPlace {
  readonly file: string | null;
  readonly level: string | null;
}

const nowhere: LogPlace = { file: null, level: null };

/** What a task's signal aborts with at its soft time limit (seconds). */
export const softLimitExceeded = (limit: number): SoftTimeLimitExceeded =>
  new SoftTimeLimitExceeded(`SoftTimeLimitExceeded(${limit})`);

export interface RunningTaskParts {
  readonly name: string;
  readonly task: object;
  readonly request: () => TaskRequest;
  readonly logger: Logger;
  readonly storeState: (state: string, meta: unknown, taskId: string | undefined) => Promise<void>;
  /** Sends the next try while this one goes on; missing where the function was simply called. */
  readonly sendRetry?: (request: RetryRequest) => Promise<void>;
  readonly sendEvent: (type: string, fields: Readonly<Record<string, unknown>>) => Promise<void>;
  /** What `replace` and `addToChord` do; missing where the function was simply called. */
  readonly branching?: () => Pick<Branching, "replace" | "addToChord">;
  /** The call as a signature; missing where the function was simply called. */
  readonly signature?: (changes: RequestChanges) => SignatureDict;
  /** The state stored for this run; undefined when there is none. */
  readonly state?: () => Promise<string | undefined>;
  /** Seconds from now after which the signal counts as aborted. */
  readonly softLimit?: number | null;
}

/** The context of one run. Its dearer parts are made when first asked for: most tasks never do. */
export class RunningTask implements TaskContext {
  readonly #parts: RunningTaskParts;
  #request: TaskRequest | undefined;
  #abort: AbortController | undefined;
  #log: Logger | undefined;
  #branching: Pick<Branching, "replace" | "addToChord"> | undefined;
  /** When the soft limit passes, by the clock of `performance`. */
  readonly #due: number | undefined;

  constructor(parts: RunningTaskParts) {
    this.#parts = parts;
    if (parts.softLimit) this.#due = performance.now() + parts.softLimit * 1000;
  }

  get name(): string {
    return this.#parts.name;
  }

  get task(): object {
    return this.#parts.task;
  }

  get request(): TaskRequest {
    this.#request ??= this.#parts.request();
    return this.#request;
  }

  get signal(): AbortSignal {
    this.#abort ??= this.#createAbort();
    return this.#abort.signal;
  }

  /** Aborts the task's signal. */
  abort(reason: unknown): void {
    this.#abort ??= new AbortController();
    this.#abort.abort(reason);
  }

  /**
   * No timer can fire while code runs that never yields, so such code would not see its signal
   * abort: with a soft limit, asking the signal also asks the clock.
   */
  #createAbort(): AbortController {
    const controller = new AbortController();
    const [due, limit] = [this.#due, this.#parts.softLimit];
    if (due === undefined || !limit) return controller;
    const { signal } = controller;
    let known = false;
    const check = (): boolean => {
      known ||= Reflect.get(AbortSignal.prototype, "aborted", signal) as boolean;
      if (!known && performance.now() >= due) {
        known = true;
        controller.abort(softLimitExceeded(limit));
      }
      return known;
    };
    return Object.defineProperty(controller, "signal", {
      value: Object.defineProperties(signal, {
        aborted: { get: check },
        throwIfAborted: {
          value: () => {
            if (check()) throw signal.reason;
          },
        },
      }),
    });
  }

  async sleep(seconds: number): Promise<void> {
    const { signal } = this;
    try {
      await delay(Math.min(seconds * 1000, longestTimerMs), undefined, { signal });
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    }
  }

  async until<T>(promise: PromiseLike<T>): Promise<T> {
    return await abortable(promise, this.signal);
  }

  get log(): Logger {
    this.#log ??= this.#parts.logger.child({ task: true, taskName: this.name, taskId: this.request.id });
    return this.#log;
  }

  async replace(signature: SignatureLike): Promise<never> {
    return await this.#workflow().replace(signature);
  }

  async addToChord(signature: SignatureLike, options: { readonly lazy?: boolean } = {}): Promise<SignatureDict> {
    return await this.#workflow().addToChord(signature, options.lazy ?? false);
  }

  signatureFromRequest(changes: RequestChanges = {}): SignatureDict {
    const { args, kwargs } = this.request;
    return (
      this.#parts.signature?.(changes) ?? createSignature(this.name, changes.args ?? args, changes.kwargs ?? kwargs)
    );
  }

  async isAborted(): Promise<boolean> {
    return (await this.#parts.state?.()) === "ABORTED";
  }

  #workflow(): Pick<Branching, "replace" | "addToChord"> {
    this.#branching ??= this.#parts.branching?.();
    if (this.#branching === undefined) {
      throw new ImproperlyConfigured(`${this.name} was called directly: only a call that was sent can be replaced`);
    }
    return this.#branching;
  }

  updateState(state: string, meta: unknown = null, options: { readonly taskId?: string } = {}): Promise<void> {
    return this.#parts.storeState(state, meta, options.taskId);
  }

  sendEvent(type: string, fields: Readonly<Record<string, unknown>> = {}): Promise<void> {
    return this.#parts.sendEvent(type, fields);
  }

  retry(options?: RetryOptions & { readonly throw?: true }): never;
  retry(options: RetryOptions & { readonly throw: false }): Promise<Retry>;
  retry({ throw: throws = true, ...options }: RetryOptions & { readonly throw?: boolean } = {}): Promise<Retry> {
    const retry = new RetryRequest(options);
    // Nobody is there to run it again (Celery: "raises the exception, or Retry").
    if (this.request.calledDirectly) throw options.cause ?? retry;
    if (throws) throw retry;
    return this.#sendRetry(retry);
  }

  async #sendRetry(retry: RetryRequest): Promise<Retry> {
    await this.#parts.sendRetry?.(retry);
    return retry;
  }
}

/** Each stamp as a list, whether one value was given or many (inventory D90). */
function listed(stamps: Readonly<Record<string, unknown>>): Readonly<Record<string, readonly unknown[]>> {
  return Object.fromEntries(
    Object.entries(stamps).map(([name, value]) => [name, Array.isArray(value) ? (value as unknown[]) : [value]]),
  );
}
