import type { Logger } from "../log.ts";
import type { TaskHeaders } from "../protocol/task-message.ts";
import type { TaskRequest } from "./context.ts";

/** Celery's signals, with what each one tells. */
export interface SignalMap {
  /** Before a message leaves; headers and options may still be changed. */
  beforeTaskPublish: {
    readonly task: string;
    readonly headers: Record<string, unknown>;
    readonly properties: Record<string, unknown>;
    readonly args: readonly unknown[];
    readonly kwargs: Readonly<Record<string, unknown>>;
    readonly exchange: string;
    readonly routingKey: string;
    readonly retryPolicy: Readonly<Record<string, unknown>> | null;
  };
  afterTaskPublish: {
    readonly task: string;
    readonly headers: TaskHeaders;
    readonly args: readonly unknown[];
    readonly kwargs: Readonly<Record<string, unknown>>;
    readonly exchange: string;
    readonly routingKey: string;
  };
  taskPrerun: { readonly task: string; readonly request: TaskRequest };
  taskPostrun: {
    readonly task: string;
    readonly request: TaskRequest;
    readonly state: string;
    readonly result: unknown;
  };
  taskSuccess: { readonly task: string; readonly request: TaskRequest; readonly result: unknown };
  /** Also in the worker's main process, for a task whose child died or was killed at its hard time limit. */
  taskFailure: { readonly task: string; readonly request: TaskRequest; readonly error: unknown };
  taskRetry: { readonly task: string; readonly request: TaskRequest; readonly reason: unknown };
  /** Something around a task went wrong, a handler for example: not an error of the task itself. */
  taskInternalError: { readonly task: string; readonly request: TaskRequest; readonly error: unknown };
  /** An app is about to import its modules of tasks. */
  importModules: Readonly<Record<string, never>>;
  /** Once, when an app is complete: its settings are known … */
  afterConfigure: Readonly<Record<string, never>>;
  /** … and its tasks. */
  afterFinalize: Readonly<Record<string, never>>;
  /** In the worker's main process, which never opens the arguments: `headers` show them as text. */
  taskReceived: {
    readonly task: string;
    readonly id: string;
    readonly queue: string;
    readonly headers: TaskHeaders;
  };
  /** `signum` is that of the signal a running task was stopped with; null for one that never ran. */
  taskRevoked: {
    readonly task: string;
    readonly id: string;
    readonly terminated: boolean;
    readonly signum: number | null;
    readonly expired: boolean;
    readonly headers: TaskHeaders;
  };
  /** No such task is registered here. */
  taskUnknown: { readonly task: string; readonly id: string; readonly queue: string; readonly headers: TaskHeaders };
  /** A message that is no task message, or cannot be read. `id` where it has one. */
  taskRejected: { readonly id: string | null; readonly queue: string; readonly reason: string };
  /** First of all: options may still be read, and settings of this node changed (`conf.update`). */
  celerydInit: {
    readonly hostname: string;
    readonly instance: WorkerInstance;
    readonly conf: { update(settings: Readonly<Record<string, unknown>>): unknown };
    readonly options: Readonly<Record<string, unknown>>;
  };
  /** The worker is put together and about to start. */
  celerydAfterSetup: {
    readonly hostname: string;
    readonly instance: WorkerInstance;
    readonly conf: { update(settings: Readonly<Record<string, unknown>>): unknown };
  };
  /**
   * With a listener, tq sets up no log: `use` takes the one to write to, any with the methods of
   * pino. To be called before the listener first waits.
   */
  setupLogging: LoggingDetails & { readonly use: (logger: Logger) => void };
  afterSetupLogger: LoggingDetails & { readonly logger: Logger };
  afterSetupTaskLogger: LoggingDetails & { readonly logger: Logger };
  workerInit: { readonly hostname: string };
  workerReady: { readonly hostname: string };
  /** The worker told monitors that it is alive. */
  heartbeatSent: { readonly hostname: string };
  /** `sig` is the signal that asked for it, or null. Sent for each step down. */
  workerShuttingDown: {
    readonly hostname: string;
    readonly sig: "SIGTERM" | "SIGINT" | "SIGQUIT" | null;
    readonly how: "Warm" | "Soft" | "Cold";
    readonly exitCode: number;
  };
  workerShutdown: { readonly hostname: string };
  /** The command line was read: `options` are those of `tq` itself, `-A`, `--broker` and so on. */
  userPreloadOptions: { readonly options: Readonly<Record<string, unknown>> };
  /** Beat is set up and about to look at its schedule for the first time. */
  beatInit: { readonly schedule: string };
  /** The same for a beat inside a worker (`-B`). */
  beatEmbeddedInit: { readonly schedule: string };
  /** In the parent, before a child or thread is started; what a listener does before it first waits is done by then. */
  workerBeforeCreateProcess: { readonly hostname: string; readonly index: number; readonly name: string };
  workerProcessInit: { readonly hostname: string };
  workerProcessShutdown: { readonly hostname: string; readonly pid: number; readonly exitCode: number };
}

/** The worker, as its signals show it. */
export interface WorkerInstance {
  readonly hostname: string;
  shutdown(how?: "warm" | "cold", exitCode?: number): void;
}

/** How the log is, or would be, set up. */
export interface LoggingDetails {
  readonly loglevel: string;
  /** Null is standard error. */
  readonly logfile: string | null;
  readonly format: string | null;
  /** Null is: when it goes to a terminal. */
  readonly colorize: boolean | null;
}

type Listener<K extends keyof SignalMap> = (details: SignalMap[K]) => void | Promise<void>;

export interface ConnectOptions {
  /** Only what this task, by its name, or this worker, by its node name, tells of. Default: all. */
  readonly sender?: string;
  /** A listener connected again under the same name takes the place of the one before. */
  readonly dispatchUid?: string;
}

/** Listeners by signal. A listener that throws is reported and disturbs nobody else. */
export class Signals {
  readonly #listeners = new Map<keyof SignalMap, Map<unknown, Connected>>();
  readonly #report: (signal: string, error: unknown) => void;

  constructor(report: (signal: string, error: unknown) => void = reportAsWarning) {
    this.#report = report;
  }

  /** Returns the function that takes the listener off again, as `disconnect` does. */
  connect<K extends keyof SignalMap>(signal: K, listener: Listener<K>, options: ConnectOptions = {}): () => void {
    const listeners = this.#listeners.get(signal) ?? new Map<unknown, Connected>();
    this.#listeners.set(signal, listeners);
    const key = options.dispatchUid ?? listener;
    listeners.set(key, { listener: listener as Listener<never>, sender: options.sender ?? null });
    return () => listeners.delete(key);
  }

  /** Takes off a listener, by itself or its `dispatchUid`; false when there is none. */
  disconnect<K extends keyof SignalMap>(signal: K, listener: Listener<K> | string): boolean {
    return this.#listeners.get(signal)?.delete(listener) ?? false;
  }

  has(signal: keyof SignalMap): boolean {
    return (this.#listeners.get(signal)?.size ?? 0) > 0;
  }

  /** Calls every listener in order and waits for each. */
  async send<K extends keyof SignalMap>(signal: K, details: SignalMap[K]): Promise<void> {
    for (const { listener, sender } of this.#listeners.get(signal)?.values() ?? []) {
      if (sender !== null && sender !== senderOf(details)) continue;
      try {
        await (listener as Listener<K>)(details);
      } catch (error) {
        this.#report(signal, error);
      }
    }
  }
}

interface Connected {
  readonly listener: Listener<never>;
  readonly sender: string | null;
}

/** Whom a signal is about: a task, or else a worker. */
function senderOf(details: object): unknown {
  const { task, hostname } = details as { readonly task?: unknown; readonly hostname?: unknown };
  return task ?? hostname;
}

function reportAsWarning(signal: string, error: unknown): void {
  process.emitWarning(`a listener of ${signal} failed: ${error instanceof Error ? error.message : String(error)}`);
}
