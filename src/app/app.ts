import { hostname } from "node:os";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import type { OpenBackend, ResultBackend } from "../backend/backend.ts";
import { openChord } from "../backend/chord-join.ts";
import { createBackend } from "../backend/connect.ts";
import { encodeRecord } from "../backend/record.ts";
import type { Broker } from "../broker/broker.ts";
import { createBroker } from "../broker/connect.ts";
import type { BrokerOptions } from "../broker/options.ts";
import { createTopology, type Topology } from "../broker/topology.ts";
import { fromDict } from "../canvas/from-dict.ts";
import { createChunks, createMap, createStarmap } from "../canvas/map.ts";
import type { Call } from "../canvas/plan.ts";
import { createSignature } from "../canvas/signature.ts";
import { type Conf, createConf } from "../config/conf.ts";
import { effectiveBrokerUrls, effectiveResultBackend, redisDefaults, redisStoreOptions } from "../config/effective.ts";
import { settingsFromEnvironment } from "../config/resolve.ts";
import type { Settings, SettingsInput } from "../config/settings.ts";
import { sharesStore } from "../config/shared-store.ts";
import { maskUrl } from "../config/url.ts";
import { controlAddresses } from "../control/addresses.ts";
import { CommandRegistry, type ControlCommand, type ControlPanel } from "../control/command.ts";
import { Control } from "../control/control.ts";
import { Mailbox } from "../control/mailbox.ts";
import {
  type ArgumentTypes,
  type ArgumentValues,
  type ControlCommandOptions,
  userCommand,
} from "../control/user-command.ts";
import { ImproperlyConfigured, InvalidTaskError, MaxRetriesExceededError, OperationalError } from "../errors.ts";
import { Executor } from "../execution/executor.ts";
import type { LogPlace } from "../execution/task-context.ts";
import { type Logger, type LogLevel, parseLogLevel, silentLogger } from "../log.ts";
import { LamportClock } from "../protocol/clock.ts";
import { anonNodename } from "../protocol/nodename.ts";
import { type SignatureDict, type SignatureLike, signatureDict } from "../protocol/signature.ts";
import { createTaskMeta, type ResultTuple } from "../protocol/task-meta.ts";
import { loadSerializer, normalizeAccept } from "../serialization/registry.ts";
import { isOurs } from "../system/installation.ts";
import { BaseTask, handlersOf, type RunnableTask } from "../task/base-task.ts";
import { builtinTasks } from "../task/builtins.ts";
import { captureOutput } from "../task/captured-output.ts";
import type { TaskContext } from "../task/context.ts";
import { type CurrentRun, callDirectly, currentRun, currentTask, currentWorkerTask } from "../task/current.ts";
import type { TaskHandlers } from "../task/handlers.ts";
import { bindArguments, declaredParameters, type Parameters, readParameters } from "../task/parameters.ts";
import { Producer, type ProducerOptions } from "../task/producer.ts";
import { Publisher } from "../task/publisher.ts";
import { TaskRegistry } from "../task/registry.ts";
import { createRouter, type Router } from "../task/router.ts";
import type { PeriodicTask } from "../task/schedule.ts";
import { checkArguments } from "../task/schema.ts";
import { type CallSender, Sender } from "../task/sender.ts";
import { Signals } from "../task/signals.ts";
import type { Task, TaskOptions } from "../task/task.ts";
import { abortable } from "../util/abortable.ts";
import { annotated } from "./annotations.ts";
import { type CallOptions, wireOptions } from "./call-options.ts";
import { AppCanvas } from "./canvas-host.ts";
import type { Anything } from "./canvas-types.ts";
import { directContext } from "./direct-context.ts";
import { Eager } from "./eager.ts";
import { AppEvents } from "./events.ts";
import { resultFromTuple } from "./handles.ts";
import { joinApps, makeCurrent, type SharedDefinition } from "./living-apps.ts";
import { appBrand } from "./load.ts";
import { ModuleLoader, ModuleNotFound } from "./module-loader.ts";
import { type PeriodicOptions, periodicEntry } from "./periodic.ts";
import { AsyncResult } from "./result.ts";
import type { ErrorRegistry, LookUpOptions, ResultHandle, ResultSource, RevokeOptions } from "./result-handle.ts";
import { type GroupResult, ResultSet } from "./result-set.ts";
import { WorkerServices } from "./services.ts";
import type { Signature } from "./signature.ts";
import type { ApplyOptions, TaskDefinition, TaskHandle } from "./task-handle.ts";
import type { StaticMethodDecorator, TaskMaker } from "./task-maker.ts";
import { completeOptions } from "./task-options.ts";
import { Workflows } from "./workflows.ts";

/** What the constructor takes: any setting, and short names for the two most used. */
export interface TqOptions extends SettingsInput {
  /** Class of all tasks that name no `base`. */
  readonly taskCls?: new () => BaseTask;
  /** `brokerUrl`; left out, the embedded store. */
  readonly broker?: string | readonly string[];
  /** `resultBackend`. */
  readonly backend?: string;
  /** Whether calls are checked against the parameters of functions that do not say `typing` themselves; default true. */
  readonly strictTyping?: boolean;
  /** Whether it becomes the current app, whose copies of shared tasks are called; default true. */
  readonly setAsCurrent?: boolean;
  /** Where broker and backend log to; nowhere unless given. A worker gives its own. */
  readonly logger?: Logger;
}

/** Folders or packages, or what gives them when they are looked for. */
type Packages = readonly string[] | (() => readonly string[] | Promise<readonly string[]>);

type AnyFunction = (...args: never[]) => unknown;

/**
 * An application: its settings, its tasks, and the connections they share. Connections are
 * made when first needed and belong to the app: `close()` ends them. A process may hold several.
 */
export class Tq implements AsyncDisposable {
  readonly [appBrand] = true;
  /** Prefix of names made for functions without one. */
  readonly main: string;
  readonly conf: Conf;
  /** Class of all tasks that name no `base`. */
  readonly taskCls: new () => BaseTask;
  /** Whether calls are checked against the parameters of functions that do not say `typing` themselves. */
  readonly strictTyping: boolean;
  readonly tasks = new TaskRegistry();
  readonly signals = new Signals();
  /** Parts that workers of this app run beside their own. */
  readonly services = new WorkerServices();
  /** Orders this process's events among those of others. */
  readonly clock = new LamportClock();
  /** Sending and watching monitoring events. */
  readonly events: AppEvents;
  /** File the app was created in; relative modules of `include` are found from its folder. */
  readonly file: string | null;
  /** The user's own error classes, by name: results rebuild them. */
  readonly errors: ErrorRegistry = new Map();
  /** What `addPeriodicTask` was given, by name; beat adds it to `beatSchedule`. */
  readonly periodicTasks = new Map<string, PeriodicTask>();
  #logger: Logger;
  #broker: Promise<Broker> | undefined;
  /** A worker's, while it runs. */
  #shared: Broker | undefined;
  #backend: Promise<ResultBackend> | undefined;
  /** Those of tasks with one of their own, by URL, and where their results are found. */
  readonly #stores = new Map<string, Promise<ResultBackend>>();
  readonly #sources = new Map<string, ResultSource>();
  #router: { readonly settings: Settings; readonly router: Router } | undefined;
  #topology: { readonly settings: Settings; readonly topology: Topology } | undefined;
  readonly #commands = new CommandRegistry<ControlPanel>();
  #control: Control | undefined;
  #mailbox: { readonly settings: Settings; readonly mailbox: Mailbox } | undefined;
  #replyTo = "";
  readonly #handles = new Map<string, TaskHandle<never[], unknown>>();
  /** Packages whose task modules are still to be looked for. */
  #discoveries: (() => Iterable<string> | Promise<Iterable<string>>)[] = [];
  #finalized = false;
  readonly #eager = new Eager(this);
  readonly #sender: Sender;
  readonly #source: ResultSource;
  /** Of what was sent, whatever `taskAlwaysEager` says. */
  readonly #sent: ResultSource;
  readonly #canvas: AppCanvas;
  #workflows: Workflows | undefined;

  constructor(main = "tasks", options: TqOptions = {}) {
    const {
      broker,
      backend,
      logger,
      taskCls = BaseTask,
      setAsCurrent = true,
      strictTyping = true,
      ...settings
    } = options;
    this.main = main;
    this.taskCls = taskCls;
    this.strictTyping = strictTyping;
    this.file = callerFile();
    this.#logger = logger ?? silentLogger;
    this.conf = createConf({
      initial: {
        ...settings,
        ...(broker === undefined ? {} : { brokerUrl: broker as string | string[] }),
        ...(backend === undefined ? {} : { resultBackend: backend }),
      },
      environment: settingsFromEnvironment(process.env),
    });
    this.#source = {
      backend: () => (this.conf.settings.taskAlwaysEager ? this.#eager.backend() : this.backend()),
      errors: this.errors,
      handle: (tuple) => resultFromTuple(tuple, this.#source),
      revoke: async (ids, options) => void (await this.control.revoke(ids, revocation(options))),
      revokeByStamps: async (stamps, options) =>
        void (await this.control.revokeByStampedHeaders(stamps, revocation(options))),
      mark: (id, state, result) => this.#mark(id, state, result, null),
    };
    this.#sent = { ...this.#source, backend: () => this.backend() };
    this.#canvas = new AppCanvas({
      settings: () => this.conf.settings,
      source: this.#source,
      open: (single) => this.#openSender(single),
      replyTo: () => this.#replyTo,
      runTask: (name, args, kwargs) => {
        const task = this.tasks.find(name);
        const bound = bindArguments(task.name, task.parameters, args, kwargs, task.options.typing);
        const context = directContext(task, args, this.#logger);
        return callDirectly(context, () => task.run(context, bound));
      },
      note: (plan) => this.workflows.note(plan),
      stores: () => this.tasks.stores(),
      sourceOf: (name) => this.#sourceOf(name),
      ignoresResult: (name) => this.tasks.get(name)?.options.ignoreResult ?? false,
    });
    this.events = new AppEvents({
      settings: () => this.conf.settings,
      clock: this.clock,
      broker: () => this.broker(),
      createBroker: () => this.createBroker("read"),
      askForHeartbeats: async (connection) => void (await this.control.broadcast("heartbeat", {}, { connection })),
    });
    this.#sender = new Sender({
      settings: () => this.conf.settings,
      router: () => this.#currentRouter(),
      registry: this.tasks,
      publisher: new Publisher(() => this.broker()),
      signals: this.signals,
      replyTo: () => this.#replyTo,
      origin: anonNodename(process.pid, hostname()),
      openChord: async (chord) => openChord(await this.backend(), chord),
      tellSent: (events) => this.events.tellSent(events),
    });
    const builtins = builtinTasks({
      tasks: this.tasks,
      backend: () => this.backend(),
      stores: () => Promise.all([this.backend(), ...[...this.tasks.stores()].map((url) => this.backend(url))]),
      interval: () => this.conf.settings.resultChordRetryInterval,
      completeChord: (...chord) => this.executor({ logger: this.#logger }).completeChord(...chord),
    });
    for (const task of builtins)
      this.#register(task.name, task.fn as AnyFunction, { ...task.options, name: task.name }, task.parameters);
    joinApps(this, { asCurrent: setAsCurrent });
  }

  /** Workflows that were sent: how far they are, and how stuck ones go on. */
  get workflows(): Workflows {
    this.#workflows ??= new Workflows({
      backend: (url) => this.backend(url),
      storeOf: (task) => this.tasks.storeOf(task),
      broker: () => this.broker(),
      sender: () => this.#sender,
      queuesOf: (calls) => this.#queuesOf(calls),
      serializer: () => this.conf.settings.resultSerializer,
      revoke: async (ids, terminate) => void (await this.control.revoke(ids, { terminate })),
      ask: (ids) => this.control.inspect().queryTask(...ids),
    });
    return this.#workflows;
  }

  // ── apps beside each other ─────────────────────────────────────────────────

  /** Makes this the app that shared tasks and `currentApp()` mean. */
  setAsCurrent(): void {
    makeCurrent(this);
  }

  /** Takes a shared task, now or once the app is complete. Not for users: `sharedTask` calls it. */
  adopt({ given }: SharedDefinition): void {
    this.#define(given);
  }

  /** The handle of a task registered here. */
  handle(name: string): TaskHandle<never[], unknown> | undefined {
    return this.#handles.get(name);
  }

  // ── tasks ──────────────────────────────────────────────────────────────────

  /** Registers a function as a task: `app.task("proj.add", { maxRetries: 5 }, (x, y) => x + y)`. */
  readonly task: TaskMaker = ((...given: readonly unknown[]) => this.#define(given)) as TaskMaker;

  #define(given: readonly unknown[]): TaskHandle<never[], unknown> | StaticMethodDecorator {
    const name = typeof given[0] === "string" ? given[0] : undefined;
    const fn = given.at(-1);
    const options = given.find((part) => typeof part === "object" && part !== null) ?? {};
    if (given.length === 1 && fn === options) {
      return ((method: AnyFunction, context: ClassMethodDecoratorContext) => {
        if (context.static) return this.#register(undefined, method, options as TaskDefinition);
        throw new ImproperlyConfigured(
          `only a static method can be a task: a worker has no object to call ${String(context.name)} of`,
        );
      }) as unknown as StaticMethodDecorator;
    }
    if (typeof fn !== "function" || given.length > 3) {
      throw new ImproperlyConfigured(
        'app.task takes a name, options and a function, in that order: app.task("proj.add", { maxRetries: 5 }, (x, y) => …)',
      );
    }
    return this.#register(name, fn as AnyFunction, options as TaskDefinition & { readonly bind?: boolean });
  }

  /**
   * Registers a class that is a task by itself: it has a `run`, whose first argument is the running
   * task. Throws `ImproperlyConfigured` for one without `run` or without a name.
   */
  registerTask<A extends unknown[], R>(given: RunnableTask<A, R> | (new () => RunnableTask<A, R>)): TaskHandle<A, R> {
    const instance = typeof given === "function" ? new given() : given;
    if (typeof instance.run !== "function") {
      throw new ImproperlyConfigured(
        `${instance.constructor.name} has no run(self, …): give it one, or use it as \`base\``,
      );
    }
    const run = (self: TaskContext, ...args: A): R => instance.run(self, ...args);
    const name = instance.name ?? this.genTaskName(instance.constructor.name, this.main);
    const parameters = readParameters(instance.run as AnyFunction, 1);
    return this.#register(name, run as AnyFunction, { bind: true }, parameters, instance) as unknown as TaskHandle<
      A,
      R
    >;
  }

  /** Name of a task that was given none: `<main>.<function>`. Override it to name otherwise. */
  genTaskName(functionName: string, main: string): string {
    return `${main}.${functionName}`;
  }

  #register(
    givenName: string | undefined,
    fn: AnyFunction,
    definition: TaskDefinition & { readonly bind?: boolean },
    parameters?: Parameters,
    own?: BaseTask,
  ): TaskHandle<never[], unknown> {
    const { bind = false } = definition;
    const typing = this.strictTyping;
    const name = givenName ?? definition.name ?? (fn.name === "" ? undefined : this.genTaskName(fn.name, this.main));
    if (!name) {
      throw new ImproperlyConfigured(
        'an anonymous function needs a name to be a task: app.task("proj.add", (x, y) => …)',
      );
    }
    const conf = this.conf;
    let settings: Settings | undefined;
    let complete: TaskOptions | undefined;
    let handlers: TaskHandlers | undefined;
    const instance = own ?? new ((definition.base as (new () => BaseTask) | undefined) ?? this.taskCls)();
    const annotations = (): TaskDefinition => annotated(name, definition, conf.settings.taskAnnotations);
    const task: Task = {
      name,
      get options() {
        const current = conf.settings;
        if (complete === undefined || settings !== current) {
          settings = current;
          complete = completeOptions(name, { ...instance.options, ...annotations() }, { bind, typing }, current);
        }
        return complete;
      },
      instance,
      get handlers() {
        handlers ??= handlersOf(instance, annotations() as TaskHandlers);
        return handlers;
      },
      schemas: definition,
      parameters:
        parameters ?? (definition.params ? declaredParameters(definition.params) : readParameters(fn, bind ? 1 : 0)),
      run: bind
        ? (context, args) => (fn as (...args: unknown[]) => unknown)(context, ...args)
        : (_context, args) => (fn as (...args: unknown[]) => unknown)(...args),
    };
    const kept = this.tasks.register(task);
    if (kept === task) instance.onBound(this);
    const handle = this.#handles.get(name) ?? this.#handle(kept);
    this.#handles.set(name, handle);
    return handle;
  }

  #handle(task: Task): TaskHandle<never[], unknown> {
    const direct = (...args: unknown[]): unknown => {
      const context = directContext(task, args, this.#logger);
      return callDirectly(context, () => task.run(context, args));
    };
    const call = (args: readonly unknown[], options: CallOptions = {}): Call => this.#call(task, args, options);
    return Object.defineProperties(direct, {
      name: { value: task.name },
      taskName: { value: task.name },
      task: { value: task },
      delay: { value: (...args: unknown[]) => this.#send(call(args), task) },
      applyAsync: {
        value: (args: readonly unknown[] = [], options: CallOptions = {}) => this.#send(call(args, options), task),
      },
      apply: {
        // Every function has a method of this name: called as that, with the arguments second, it is that.
        value: (args: unknown, options: unknown = {}) =>
          Array.isArray(args)
            ? this.#apply(call(args, options as CallOptions), task, options as ApplyOptions)
            : direct(...((options ?? []) as unknown[])),
      },
      delayMany: {
        value: (calls: readonly unknown[][], options: CallOptions = {}) =>
          this.#sendMany(
            calls.map((args) => call(args, options)),
            task,
          ),
      },
      s: { value: (...args: readonly unknown[]) => this.signature(task.name, args) },
      si: { value: (...args: readonly unknown[]) => this.signature(task.name, args, { immutable: true }) },
      asyncResult: { value: (id: string) => new AsyncResult(id, this.#sourceOf(task.name) ?? this.#source) },
      OperationalError: { value: OperationalError },
      MaxRetriesExceededError: { value: MaxRetriesExceededError },
      toString: { value: () => `<@task: ${task.name} of ${this.main}>` },
      [Symbol.for("nodejs.util.inspect.custom")]: { value: () => `<@task: ${task.name} of ${this.main}>` },
      signature: {
        value: (args: readonly unknown[] = [], options: SignatureTraits = {}) =>
          this.signature(task.name, args, options),
      },
      map: { value: (items: Iterable<unknown>) => this.#canvas.wrap(createMap(bare(task), [...items])) },
      starmap: {
        value: (items: Iterable<readonly unknown[]>) => this.#canvas.wrap(createStarmap(bare(task), [...items])),
      },
      chunks: {
        value: (items: Iterable<readonly unknown[]>, size: number) =>
          this.#canvas.wrap(createChunks(bare(task), [...items], size)),
      },
    }) as unknown as TaskHandle<never[], unknown>;
  }

  /** The task in whose course the caller executes; undefined outside of any. Follows it through its awaits. */
  get currentTask(): TaskContext | undefined {
    return currentTask();
  }

  /** The same, but for the task a worker was sent: not one that was simply called by it. */
  get currentWorkerTask(): TaskContext | undefined {
    return currentWorkerTask();
  }

  /**
   * What is printed goes to this logger, line by line, until the result is disposed of: by everything in
   * this process or, inside a task, by that task. `level` is by default `workerRedirectStdoutsLevel`.
   */
  redirectStdoutsToLogger(
    logger: Logger,
    options: { readonly level?: LogLevel; readonly stdout?: boolean; readonly stderr?: boolean } = {},
  ): Disposable {
    const owner = currentRun.getStore();
    return captureOutput({
      level: options.level ?? parseLogLevel(this.conf.settings.workerRedirectStdoutsLevel),
      streams: (["stdout", "stderr"] as const).filter((name) => options[name] !== false),
      loggerOf: (run) => (owner === undefined || run === owner ? logger : undefined),
    });
  }

  /**
   * Adds a call to beat's schedule: every so many seconds, by a crontab in one text, or by a schedule. `options`
   * are those of the call, beside `name`, `args` and `kwargs`, which come after those of the signature. Returns the
   * name of the entry: the one given, else the call as text. A name given twice is the later entry's.
   */
  addPeriodicTask(schedule: PeriodicTask["schedule"], signature: SignatureLike, options: PeriodicOptions = {}): string {
    const [key, entry] = periodicEntry(schedule, signatureDict(signature), options);
    this.periodicTasks.set(key, entry);
    return key;
  }

  // ── calling ────────────────────────────────────────────────────────────────

  /**
   * Calls a task by name; it need not be known here. Resolves once the broker has the message. It is sent
   * even with `taskAlwaysEager`, with the warning `AlwaysEagerIgnored` (inventory A23).
   */
  async sendTask<R = unknown>(
    name: string,
    args: readonly unknown[] = [],
    options: CallOptions = {},
  ): Promise<AsyncResult<R>> {
    const task = this.tasks.get(name);
    if (this.conf.settings.taskAlwaysEager) warnOfSending(name);
    const call: Call = {
      task: name,
      args: checkArgs(args),
      kwargs: checkKwargs(options.kwargs ?? {}),
      options: wireOptions(options),
    };
    if (task?.schemas.args) await checkCall(task, call);
    const [result] = await this.#sendAll([call], task);
    return result as AsyncResult<R>;
  }

  /**
   * A signature by the name of its task, or out of one that travelled as data: what a task gets
   * when a signature was its argument. Its types are those one gives it.
   */
  signature<A extends readonly unknown[] = Anything, R = unknown>(
    task: string,
    args?: readonly unknown[],
    options?: SignatureTraits,
  ): Signature<A, R>;
  signature<A extends readonly unknown[] = Anything, R = unknown>(dict: SignatureLike): Signature<A, R>;
  signature(
    task: string | SignatureLike,
    args: readonly unknown[] = [],
    options: SignatureTraits = {},
  ): Signature<Anything, unknown> {
    if (typeof task !== "string") return this.#canvas.wrap(fromDict(signatureDict(task))) as Signature;
    const { immutable = false, kwargs = {}, ...rest } = options;
    const dict = createSignature(task, checkArgs(args), checkKwargs(kwargs), wireOptions(rest), { immutable });
    return this.#canvas.wrap(dict) as Signature;
  }

  /** The results of a group that were kept with `GroupResult.save`; null when nothing is known of it. */
  async restoreGroup<T extends readonly unknown[] = unknown[]>(
    id: string,
    options: LookUpOptions = {},
  ): Promise<GroupResult<T> | null> {
    const load = async (): Promise<ResultTuple | undefined> => await (await this.backend()).loadGroup(id);
    const tuple = await abortable(load(), options.signal);
    return tuple === undefined ? null : (resultFromTuple(tuple, this.#source) as GroupResult<T>);
  }

  /** The handle of a result out of the form in which it travels (`asTuple`). */
  resultFromTuple(tuple: ResultTuple): AsyncResult | GroupResult {
    return resultFromTuple(tuple, this.#source) as AsyncResult | GroupResult;
  }

  /** Several results as one, to be waited for together. */
  resultSet(results: Iterable<ResultHandle>): ResultSet {
    return new ResultSet(results, this.#source);
  }

  /** A handle on the result of a call made anywhere. */
  asyncResult<R = unknown>(id: string): AsyncResult<R> {
    return new AsyncResult<R>(id, this.#source);
  }

  #call(task: Task, args: readonly unknown[], options: CallOptions): Call {
    const kwargs = checkKwargs(options.kwargs ?? {});
    if (task.options.typing) bindArguments(task.name, task.parameters, checkArgs(args), kwargs);
    return { task: task.name, args, kwargs, options: wireOptions(options) };
  }

  async #send(call: Call, task: Task): Promise<AsyncResult> {
    const [result] = await this.#sendMany([call], task);
    return result as AsyncResult;
  }

  async #apply(call: Call, task: Task, options: ApplyOptions): Promise<AsyncResult> {
    if (task.schemas.args) await checkCall(task, call);
    const [result] = await this.#eager.results([call], options.throw ?? this.conf.settings.taskEagerPropagates);
    return result as AsyncResult;
  }

  async #sendMany(calls: readonly Call[], task: Task): Promise<AsyncResult[]> {
    if (task.schemas.args) await Promise.all(calls.map((call) => checkCall(task, call)));
    if (this.conf.settings.taskAlwaysEager) return await this.#eager.results(calls);
    return await this.#sendAll(calls, task);
  }

  async #sendAll(calls: readonly Call[], task: Task | undefined): Promise<AsyncResult[]> {
    const own = task?.options.backend ?? null;
    await this.#prepareReplies(own === null ? [] : [own]);
    const source = (task && this.#sourceOf(task.name)) ?? this.#sent;
    const ids = await this.#sender.sendAll(calls);
    return ids.map((id, index) => {
      const ignored = (calls[index]?.options.ignore_result ?? task?.options.ignoreResult ?? false) === true;
      return new AsyncResult(id, source, { ignored });
    });
  }

  /** `own`: the stores of tasks with one of their own. */
  async #prepareReplies(own: Iterable<string>): Promise<void> {
    for (const url of [effectiveResultBackend(this.conf.settings), ...own]) {
      if (!url.startsWith("rpc")) continue;
      const backend = await this.backend(url);
      await backend.prepare();
      this.#replyTo = backend.replyTo;
    }
  }

  /** Where results of a task with a store of its own are found; undefined for any other, and where calls run here and now. */
  #sourceOf(task: string): ResultSource | undefined {
    const url = this.tasks.storeOf(task);
    if (url === null || this.conf.settings.taskAlwaysEager) return undefined;
    const known = this.#sources.get(url);
    if (known !== undefined) return known;
    const source: ResultSource = {
      ...this.#source,
      backend: () => this.backend(url),
      mark: (id, state, result) => this.#mark(id, state, result, url),
    };
    this.#sources.set(url, source);
    return source;
  }

  /** Who sends what a composition plans, and where its results are. A `single` call is of this task. */
  async #openSender(single: string | null): Promise<{ readonly sender: CallSender; readonly source: ResultSource }> {
    const { settings } = this.conf;
    if (settings.taskAlwaysEager) {
      if (single === null || this.tasks.get(single)) return { sender: this.#eager, source: this.#source };
      warnOfSending(single);
    }
    await this.#prepareReplies(this.tasks.stores());
    return { sender: this.#sender, source: this.#sent };
  }

  async #mark(id: string, state: string, result: unknown, store: string | null): Promise<void> {
    const meta = createTaskMeta({ task_id: id, status: state, result, children: null });
    const { resultSerializer: serializer } = this.conf.settings;
    const record = await encodeRecord(meta, { serializer, replyTo: null, correlationId: id });
    await (await this.backend(store)).store(record);
  }

  // ── parts ──────────────────────────────────────────────────────────────────

  /** The app's broker, connected; shared by all who publish. Rejects with `BrokerConnectionError`. */
  async broker(): Promise<Broker> {
    const broker = this.#shared ?? (await this.#own());
    await broker.connect();
    return broker;
  }

  #own(): Promise<Broker> {
    this.#broker ??= this.createBroker("write");
    return this.#broker;
  }

  /**
   * Sends over this broker from now on, and keeps results over its connections where they lead to
   * the same server, until it is disposed of: a worker has one broker for all of it. Does nothing for
   * a broker that does not share.
   */
  share(broker: Broker): Disposable {
    const [reading, writing] = (["read", "write"] as const).map((use) => effectiveBrokerUrls(this.conf.settings, use));
    if (broker.sharesConnections && String(reading) === String(writing)) this.#shared = broker;
    return {
      [Symbol.dispose]: () => {
        if (this.#shared === broker) this.#shared = undefined;
      },
    };
  }

  /** A broker of one's own, not connected yet: for consumers, which close it themselves. */
  async createBroker(
    use: "read" | "write",
    logger: Logger = this.#logger,
    { mayBlock = false }: Pick<BrokerOptions, "mayBlock"> = {},
  ): Promise<Broker> {
    const { settings } = this.conf;
    return await createBroker(effectiveBrokerUrls(settings, use), {
      transportOptions: settings.brokerTransportOptions,
      connectTimeout: settings.brokerConnectionTimeout,
      maxBodySize: settings.workerMaxBodySize,
      mostDeadLetters: settings.workerMaxDeadLetters,
      logger: logger as never,
      mayBlock,
      ...(settings.brokerHeartbeat === null ? {} : { heartbeat: settings.brokerHeartbeat }),
      ...(settings.brokerUseSsl ? { useSsl: { ...settings.brokerUseSsl } } : {}),
      ...(settings.brokerFailoverStrategy === null ? {} : { failoverStrategy: settings.brokerFailoverStrategy }),
      detectQuorumQueues: settings.workerDetectQuorumQueues,
    });
  }

  /** A connection of one's own for reading, connected; close it. Rejects with `BrokerConnectionError`. */
  async connectionForRead(): Promise<Broker> {
    const broker = await this.createBroker("read");
    await broker.connect();
    return broker;
  }

  /** A connection of one's own for writing, connected; close it. Rejects with `BrokerConnectionError`. */
  async connectionForWrite(): Promise<Broker> {
    const broker = await this.createBroker("write");
    await broker.connect();
    return broker;
  }

  /** Celery's short name for a connection that may be written to. */
  connection(): Promise<Broker> {
    return this.connectionForWrite();
  }

  /**
   * A producer with a connection of its own, for many calls or for bulk sending:
   * `await using producer = app.producer({ hold: 500 })`, then `applyAsync(args, { producer })`.
   */
  producer(options: ProducerOptions = {}): Producer {
    return new Producer(() => this.createBroker("write"), options);
  }

  /** The app's result backend; with a URL that of tasks whose option `backend` it is. One of each for an app. */
  backend(url: string | null = null): Promise<ResultBackend> {
    const ofApp = effectiveResultBackend(this.conf.settings);
    if (url === null || url === ofApp) {
      this.#backend ??= this.#createBackend(ofApp);
      return this.#backend;
    }
    const known = this.#stores.get(url) ?? this.#createBackend(url);
    this.#stores.set(url, known);
    return known;
  }

  async #createBackend(url: string): Promise<ResultBackend> {
    const { settings } = this.conf;
    await loadSerializer(settings.resultSerializer);
    return await createBackend(url, {
      expires: settings.resultExpires,
      serializer: settings.resultSerializer,
      accept: normalizeAccept(settings.resultAcceptContent ?? settings.acceptContent),
      redisDefaults: redisDefaults(settings),
      transportOptions: { ...redisStoreOptions(this.conf), ...settings.resultBackendTransportOptions },
      brokerUrls: effectiveBrokerUrls(settings, "write"),
      persistent: settings.resultPersistent ?? false,
      broker: () => this.#shared,
      connectTimeout: settings.brokerConnectionTimeout,
      ...(settings.redisBackendUseSsl ? { useSsl: { ...settings.redisBackendUseSsl } } : {}),
    });
  }

  /**
   * Adds a command to the workers of this app: `tq inspect` or `tq control` lists and sends it, and
   * so do Celery's tools. It may replace one a worker comes with.
   */
  controlCommand<const Types extends ArgumentTypes = Record<never, never>, const Variadic extends string = never>(
    name: string,
    options: ControlCommandOptions<Types, Variadic>,
    run: (panel: ControlPanel, args: ArgumentValues<Types, Variadic>) => unknown,
  ): void {
    this.#commands.add(userCommand(name, options, run));
  }

  /** The commands added by `controlCommand`. */
  get controlCommands(): Iterable<ControlCommand<ControlPanel>> {
    return this.#commands;
  }

  /** Steers and asks the workers. */
  get control(): Control {
    this.#control ??= new Control({
      mailbox: () => this.#currentMailbox(),
      broker: () => this.broker(),
      purge: () => this.#purge(),
      warn: (message) => this.#logger.warn("%s", message),
    });
    return this.#control;
  }

  #currentMailbox(): Mailbox {
    const { settings } = this.conf;
    if (this.#mailbox === undefined || this.#mailbox.settings !== settings) {
      const mailbox = new Mailbox({
        addresses: controlAddresses(settings),
        node: anonNodename(process.pid, hostname()),
        serializer: settings.taskSerializer,
        accept: normalizeAccept(settings.acceptContent),
      });
      this.#mailbox = { settings, mailbox };
    }
    return this.#mailbox.mailbox;
  }

  async #purge(): Promise<number> {
    const broker = await this.broker();
    let messages = 0;
    for (const name of this.topology.consumed.keys()) messages += await broker.purge(name);
    return messages;
  }

  /** Where results go, with its password masked: safe to print. */
  get displayBackend(): string {
    return maskUrl(effectiveResultBackend(this.conf.settings));
  }

  get topology(): Topology {
    const { settings } = this.conf;
    if (this.#topology === undefined || this.#topology.settings !== settings) {
      this.#topology = { settings, topology: createTopology(settings) };
    }
    return this.#topology.topology;
  }

  /** Where calls may wait: in the queues of the settings, and where they are routed to. */
  #queuesOf(calls: readonly Call[]): readonly string[] {
    const router = this.#currentRouter();
    const routed = calls.map(({ options, task, args, kwargs }) => {
      const { queue, address } = router.route(options, task, args, kwargs, this.tasks.get(task));
      return queue?.name ?? (address.exchange === "" ? address.routingKey : undefined);
    });
    return [...new Set([...this.topology.consumed.keys(), ...routed.filter((name) => name !== undefined)])];
  }

  #currentRouter(): Router {
    const { settings } = this.conf;
    if (this.#router === undefined || this.#router.settings !== settings) {
      this.#router = { settings, router: createRouter(settings) };
    }
    return this.#router.router;
  }

  /** Sends calls and plans as they are; what `delay` and `sendTask` stand on. */
  get sender(): Sender {
    return this.#sender;
  }

  /** Runs calls here and now: what `apply` and `taskAlwaysEager` stand on. */
  get eager(): Eager {
    return this.#eager;
  }

  /** Runs single jobs of this app in this process: what a pool's child does. */
  executor(options: {
    readonly logger: Logger;
    readonly sender?: CallSender;
    /** Leave what follows a task to whoever gets its outcome, where `sharesStore` allows it. Default false. */
    readonly handsOver?: boolean;
    /** Default: the app's own. */
    readonly backend?: OpenBackend;
    readonly onRunEnd?: (run: CurrentRun) => void;
    /** Where `logger` logs to, as tasks see it. */
    readonly logPlace?: LogPlace;
  }): Executor {
    const { settings } = this.conf;
    return new Executor({
      registry: this.tasks,
      settings,
      accept: normalizeAccept(settings.acceptContent),
      backend: options.backend ?? ((url) => this.backend(url)),
      sender: options.sender ?? this.#sender,
      handsOver: (options.handsOver ?? false) && sharesStore(settings),
      signals: this.signals,
      sendEvent: (hostname, type, fields) => this.events.dispatcher({ hostname }).publish(type, fields),
      logger: options.logger,
      ...(options.logPlace ? { logPlace: options.logPlace } : {}),
      ...(options.onRunEnd ? { onRunEnd: options.onRunEnd } : {}),
    });
  }

  /** Lets broker and backend log to the worker's log. */
  set logger(logger: Logger) {
    this.#logger = logger;
  }

  /**
   * Looks for a module of tasks in each package: `autodiscoverTasks(["./shop", "./mail"])` imports
   * `shop/tasks.*` and `mail/tasks.*` when the worker loads its modules (inventory A27). A package
   * without one is passed over; one that throws is told. `relatedName: null` imports the packages. With
   * `force` they are imported now: resolves when that is done, or rejects with what they throw.
   */
  autodiscoverTasks(
    packages: Packages,
    options?: { readonly relatedName?: string | null; readonly force?: false },
  ): void;
  autodiscoverTasks(
    packages: Packages,
    options: { readonly relatedName?: string | null; readonly force: true },
  ): Promise<void>;
  autodiscoverTasks(
    packages: Packages,
    { relatedName = "tasks", force = false }: { readonly relatedName?: string | null; readonly force?: boolean } = {},
  ): Promise<void> | undefined {
    this.#discoveries.push(async () => {
      const all = typeof packages === "function" ? await packages() : packages;
      return all.map((name) => (relatedName === null ? name : `${name.replace(/\/+$/, "")}/${relatedName}`));
    });
    return force ? this.#discover(this.#loading(process.cwd())) : undefined;
  }

  async #discover({ loader, from }: Loading): Promise<void> {
    for (const discover of this.#discoveries.splice(0)) {
      for (const specifier of await discover()) {
        await loader.importModule(specifier, from).catch((error: unknown) => {
          if (!(error instanceof ModuleNotFound)) throw error;
        });
      }
    }
  }

  #loading(cwd: string): Loading {
    return { loader: new ModuleLoader({ cwd }), from: this.file === null ? cwd : dirname(this.file) };
  }

  /**
   * The app is complete: tells `afterConfigure` and `afterFinalize` once. A worker does this
   * after loading its modules.
   */
  async finalize(): Promise<void> {
    if (this.#finalized) return;
    this.#finalized = true;
    void this.conf.settings;
    await this.signals.send("afterConfigure", {});
    await this.signals.send("afterFinalize", {});
  }

  /** Imports the modules of `imports`, `include` and `more`, so that their tasks are registered. */
  async loadModules(more: readonly string[] = [], cwd: string = process.cwd()): Promise<void> {
    const { settings } = this.conf;
    const loading = this.#loading(cwd);
    const { loader, from } = loading;
    await this.signals.send("importModules", {});
    await this.#discover(loading);
    for (const specifier of new Set([...settings.imports, ...settings.include, ...more])) {
      await loader.importModule(specifier, from);
    }
    await this.finalize();
  }

  /** Ends the app's connections. It may be used again: they are made anew. */
  async close(): Promise<void> {
    const [broker, backends] = [this.#broker, [...this.#stores.values(), this.#backend]];
    this.#broker = undefined;
    this.#backend = undefined;
    this.#stores.clear();
    for (const backend of backends) await backend?.then((open) => open.close());
    await broker?.then((open) => open.close());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** What imports the modules of an app, and the folder from which relative ones are found. */
interface Loading {
  readonly loader: ModuleLoader;
  readonly from: string;
}

/** What a worker would refuse is refused here, before it is sent. The values go out as they were given. */
async function checkCall(task: Task, call: Call): Promise<void> {
  const { args = [] } = task.schemas;
  await checkArguments(task.name, args, bindArguments(task.name, task.parameters, call.args, call.kwargs));
}

/** What `signature` takes beside the arguments. */
type SignatureTraits = CallOptions & { readonly immutable?: boolean };

/** What the handle of a result may say of a revocation, in the words of the remote control. */
const revocation = ({ terminate = false, signal = "SIGTERM", wait = false, timeout }: RevokeOptions) => ({
  terminate,
  signalName: signal,
  reply: wait,
  ...(timeout === undefined ? {} : { timeout }),
});

const warnOfSending = (name: string): void =>
  process.emitWarning(`taskAlwaysEager has no effect on sendTask: the call of ${name} was sent`, "AlwaysEagerIgnored");

const bare = (task: Task): SignatureDict => createSignature(task.name);

function checkArgs(args: readonly unknown[]): readonly unknown[] {
  if (!Array.isArray(args)) throw new InvalidTaskError("task args must be an array");
  return args;
}

function checkKwargs(kwargs: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  if (typeof kwargs !== "object" || kwargs === null || Array.isArray(kwargs))
    throw new InvalidTaskError("task keyword arguments must be an object");
  return kwargs;
}

/** The file whose code called the constructor, from the stack; null where the stack has none. */
function callerFile(): string | null {
  const lines = new Error().stack?.split("\n").slice(1) ?? [];
  for (const line of lines) {
    const place = /\(?((?:file:\/\/)?\/[^()]*?):\d+:\d+\)?$/.exec(line)?.[1];
    if (!place) continue;
    const path = place.startsWith("file://") ? fileURLToPath(place.replace(/\?.*$/, "")) : place;
    if (!isOurs(path)) return path;
  }
  return null;
}
