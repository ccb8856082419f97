import { randomBytes } from "node:crypto";
import { hostname as hostOfThisMachine } from "node:os";
import type { Tq } from "../app/app.ts";
import type { Broker, Queue } from "../broker/broker.ts";
import type { Settings } from "../config/settings.ts";
import { BrokerConnectionError, ImproperlyConfigured } from "../errors.ts";
import { FollowUp } from "../execution/follow-up.ts";
import { Recorder } from "../execution/record.ts";
import { type LogLevel, parseLogLevel, type RootLogger } from "../log.ts";
import { createLogger } from "../log-writer.ts";
import type { Pool } from "../pool/pool.ts";
import { PreforkPool } from "../pool/prefork/pool.ts";
import { SoloPool } from "../pool/solo.ts";
import { expandNodename, nodename } from "../protocol/nodename.ts";
import { normalizeAccept } from "../serialization/registry.ts";
import { cpuCount } from "../system/cpu-count.ts";
import { acquirePidfile, type Pidfile } from "../system/pidfile.ts";
import { platformName } from "../system/platform.ts";
import { onSignal as listenTo } from "../system/posix-signals.ts";
import { setProcessTitle, workerTitle } from "../system/process-title.ts";
import { codename, version } from "../version.ts";
import { banner, superuserWarning } from "./banner.ts";
import { Connection } from "./connection.ts";
import { Consumer } from "./consumer.ts";
import { Dispatch } from "./dispatch.ts";
import { Intake } from "./intake.ts";
import { Interrupted } from "./interrupted.ts";
import type { WorkerOptions } from "./options.ts";
import { ResultKeeper } from "./result-keeper.ts";
import { onSignal, type ShutdownPhase } from "./shutdown.ts";
import { WorkerState } from "./state.ts";

/** Jobs a child may have in hand with `-O fast`. */
const fastBatch = 64;

/** Seconds a cold shutdown gives results and acknowledgements already on their way. */
const coldPatience = 2;

/**
 * One worker node: takes task messages from its queues, has its pool run them, keeps their
 * results and settles their messages, until it is told to stop.
 */
export class Worker {
  readonly hostname: string;
  readonly state = new WorkerState();
  readonly #app: Tq;
  readonly #options: WorkerOptions;
  readonly #settings: Settings;
  readonly #logger: RootLogger;
  readonly #ended: Promise<number>;
  #end: (exitCode: number) => void = () => undefined;
  #phase: ShutdownPhase = "running";
  #exitCode = 0;
  readonly #cold = new AbortController();
  #parts: WorkerParts | undefined;

  constructor(app: Tq, options: WorkerOptions = {}) {
    this.#app = app;
    this.#options = options;
    if (options.overrides) app.conf.setFlags(options.overrides);
    this.#settings = app.conf.settings;
    this.hostname = nodename(options.hostname, hostOfThisMachine());
    this.#logger = createLogger({
      level: options.loglevel ?? "WARNING",
      ...(options.logfile
        ? { destination: expandNodename(options.logfile, { nodename: this.hostname, pid: process.pid }) }
        : {}),
      color: this.#settings.workerLogColor,
      format: this.#settings.workerLogFormat,
      taskFormat: this.#settings.workerTaskLogFormat,
    });
    this.#ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /** Starts, works until told to stop, stops. Resolves to the code the process should exit with. */
  async run(): Promise<number> {
    const signals = listenTo(["SIGTERM", "SIGINT", "SIGQUIT"], (signal) => this.#onSignal(signal as "SIGTERM"));
    const reopen = listenTo(["SIGUSR1"], () => this.#logger.reopen());
    let pidfile: Pidfile | undefined;
    try {
      pidfile = await this.#writePidfile();
      await this.#start();
      const exitCode = await this.#ended;
      await this.#stop();
      return exitCode;
    } catch (error) {
      this.#exitCode = 1;
      this.#cold.abort();
      await this.#stop();
      throw error;
    } finally {
      signals[Symbol.dispose]();
      reopen[Symbol.dispose]();
      pidfile?.release();
      this.#logger.close();
    }
  }

  /** Tells a running worker to stop: `warm` lets tasks finish, `cold` gives them back. */
  shutdown(how: "warm" | "cold" = "warm", exitCode = 0): void {
    if (this.#phase === "now") return;
    this.#exitCode = exitCode;
    this.#phase = how;
    if (how === "cold") this.#goCold();
    void this.#app.signals.send("workerShuttingDown", { hostname: this.hostname, how, exitCode });
    this.#end(exitCode);
  }

  #onSignal(signal: "SIGTERM" | "SIGINT" | "SIGQUIT"): void {
    const step = onSignal(this.#phase, signal, this.#exitCode);
    if (step.message !== null) process.stderr.write(`\n${step.message}\n`);
    if (step.phase === "now") process.exit(step.exitCode);
    if (step.phase !== this.#phase) this.shutdown(step.phase as "warm" | "cold", step.exitCode);
  }

  async #writePidfile(): Promise<Pidfile | undefined> {
    const { pidfile } = this.#options;
    return pidfile ? await acquirePidfile(expandNodename(pidfile, { nodename: this.hostname })) : undefined;
  }

  async #start(): Promise<void> {
    const app = this.#app;
    const options = this.#options;
    app.logger = this.#logger;
    setProcessTitle(workerTitle(this.hostname, "MainProcess"));
    await app.loadModules(options.include, options.cwd);
    // Options are completed when first asked for: a mistake in them is told now, not by the first message.
    for (const task of app.tasks) void task.options;
    const queues = this.#selectQueues();
    const concurrency = options.concurrency ?? this.#settings.workerConcurrency ?? cpuCount();
    const broker = await app.createBroker("read", this.#logger);
    const parts = this.#assemble(broker, queues, concurrency);
    this.#parts = parts;
    if (!options.quiet) this.#printBanner(broker, queues, parts.pool, concurrency);
    const { warnings, notices } = app.conf.resolution;
    for (const notice of [...warnings, ...notices, ...superuserNotice()]) this.#logger.warn("%s", notice);
    await app.signals.send("workerInit", { hostname: this.hostname });
    const starting = parts.pool.start();
    starting.catch(() => undefined); // awaited below; meanwhile it must not count as unhandled
    if (options.purge) await this.#purge(broker, queues);
    // Told to stop while the broker is still waited for: there is nothing to be ready for.
    await Promise.race([parts.connection.start(), this.#ended]);
    if (this.#phase !== "running") return;
    await starting;
    this.#logger.info("%s ready.", this.hostname);
    setProcessTitle(workerTitle(this.hostname, "MainProcess", { activity: "active", argv: process.argv.slice(2) }));
    await app.signals.send("workerReady", { hostname: this.hostname });
  }

  #assemble(broker: Broker, queues: readonly Queue[], concurrency: number): WorkerParts {
    const app = this.#app;
    const settings = this.#settings;
    const logger = this.#logger;
    const accept = normalizeAccept(settings.acceptContent);
    const backend = () => app.backend();
    const results = new ResultKeeper(backend, logger);
    const recorder = new Recorder({ settings, backend });
    const followUp = new FollowUp({ settings, backend, sender: app.sender, logger }, recorder);
    const interrupted = new Interrupted({
      accept,
      resultSerializer: settings.resultSerializer,
      results,
      followUp,
      logger,
    });
    const onSettleError = (error: unknown): void => {
      // The message is still the broker's: it comes again, to this worker or another.
      if (error instanceof BrokerConnectionError) logger.debug("a message could not be settled: %s", error.message);
      else if (!this.#cold.signal.aborted) logger.error({ err: error }, "a message could not be settled");
    };
    const pool = this.#createPool(concurrency);
    const dispatch = new Dispatch({
      pool,
      state: this.state,
      hostname: this.hostname,
      limits: { timeLimit: this.#options.timeLimit ?? null, softTimeLimit: this.#options.softTimeLimit ?? null },
      results,
      interrupted,
      logger,
      onExpired: (request) => intake.expire(request),
      onSettleError,
    });
    const intake: Intake = new Intake({
      registry: app.tasks,
      accept,
      logger,
      signals: app.signals,
      state: this.state,
      interrupted,
      reserve: (request) => dispatch.reserve(request),
      onSettleError,
    });
    const multiplier = this.#options.prefetchMultiplier ?? settings.workerPrefetchMultiplier;
    const consumer = new Consumer({
      broker,
      hostname: this.hostname,
      queues: () => queues,
      prefetch: () => pool.size * multiplier,
      onDelivery: (delivery) => intake.take(delivery),
      onLost: (error) => {
        dispatch.dropLost();
        connection.lost(error);
      },
      logger,
    });
    const connection: Connection = new Connection({
      broker,
      logger,
      onConnected: () => consumer.subscribe(),
      retry: settings.brokerConnectionRetry,
      retryOnStartup: settings.brokerConnectionRetryOnStartup ?? settings.brokerConnectionRetry,
      maxRetries: app.conf.isSet("brokerConnectionMaxRetries") ? settings.brokerConnectionMaxRetries : null,
      onFatal: (error) => {
        logger.fatal("%s", error.message);
        this.shutdown("warm", 1);
      },
    });
    return { broker, pool, dispatch, intake, consumer, connection };
  }

  #createPool(concurrency: number): Pool {
    const {
      pool = "prefork",
      optimization = "fair",
      appSpec,
      include = [],
      cwd = process.cwd(),
      overrides = {},
    } = this.#options;
    const settings = this.#settings;
    switch (pool) {
      case "solo":
        return new SoloPool(this.#app.executor({ logger: this.#logger }));
      case "prefork":
      case "processes":
        if (!appSpec) {
          throw new ImproperlyConfigured(
            "the prefork pool needs to know where its children find the app: give `appSpec` (-A), or use the solo pool",
          );
        }
        return new PreforkPool({
          size: concurrency,
          batch: optimization === "fast" ? fastBatch : 1,
          limits: {
            maxTasks: this.#options.maxTasksPerChild ?? settings.workerMaxTasksPerChild,
            maxMemory: this.#options.maxMemoryPerChild ?? settings.workerMaxMemoryPerChild,
          },
          aliveTimeout: settings.workerProcAliveTimeout,
          birth: {
            hostname: this.hostname,
            appSpec,
            cwd,
            include,
            loglevel: this.#options.loglevel ?? "WARNING",
            overrides,
          },
          logger: this.#logger,
          onPrint: this.#printer(),
          onFatal: (error) => {
            this.#logger.fatal("%s", error.message);
            this.shutdown("warm", 1);
          },
        });
      default:
        throw new ImproperlyConfigured(`pool must be one of prefork, processes or solo in this release, got: ${pool}`);
    }
  }

  /** What tasks print goes to the log, marked with who printed it; or, unredirected, out as it is. */
  #printer(): (line: string, processName: string) => void {
    if (!this.#settings.workerRedirectStdouts) return (line) => void process.stdout.write(`${line}\n`);
    const level: LogLevel = parseLogLevel(this.#settings.workerRedirectStdoutsLevel);
    return (line, processName) => {
      if (line.trim() !== "") this.#logger[level]({ processName }, "%s", line);
    };
  }

  #selectQueues(): readonly Queue[] {
    const { queues, excludeQueues } = this.#options;
    let { topology } = this.#app;
    if (queues && queues.length > 0) topology = topology.select(queues);
    if (excludeQueues && excludeQueues.length > 0) topology = topology.deselect(excludeQueues);
    return [...topology.consumed.values()];
  }

  async #purge(broker: Broker, queues: readonly Queue[]): Promise<void> {
    await broker.connect();
    let count = 0;
    for (const queue of queues) {
      await broker.declare(queue);
      count += await broker.purge(queue.name);
    }
    this.#logger.warn("purge: Erased %d %s from the queue.", count, count === 1 ? "message" : "messages");
  }

  #printBanner(broker: Broker, queues: readonly Queue[], pool: Pool, concurrency: number): void {
    const text = banner({
      hostname: this.hostname,
      version: `${version} (${codename})`,
      platform: platformName(),
      now: new Date(),
      // Celery shows where its app lies in memory; ours is told apart by a number as good.
      app: `${this.#app.main}:0x${randomBytes(5).toString("hex")}`,
      transport: broker.displayUrl,
      results: this.#app.displayBackend,
      concurrency,
      pool: pool.kind,
      taskEvents: this.#options.taskEvents ?? false,
      queues,
      tasks: this.#app.tasks.names({ builtins: true }),
      loglevel: this.#options.loglevel ?? "WARNING",
    });
    process.stdout.write(`${text}\n`);
  }

  #goCold(): void {
    this.#parts?.dispatch.goCold();
    this.#cold.abort();
  }

  /** In reverse: stop taking, let run, keep results, settle, give back, let go. */
  async #stop(): Promise<void> {
    const parts = this.#parts;
    if (!parts) return;
    const { consumer, intake, dispatch, pool, connection } = parts;
    consumer.pause();
    intake.stop();
    dispatch.stop();
    await pool.stop(this.#cold.signal);
    await Promise.race([dispatch.settled(), this.#patience()]);
    await consumer
      .close()
      .catch((error: unknown) => this.#logger.debug("messages go back by themselves: %s", String(error)));
    await connection.stop();
    await this.#app.close();
    await this.#app.signals.send("workerShutdown", { hostname: this.hostname });
  }

  /** Never ends while the shutdown is warm; soon after it has become cold. */
  #patience(): Promise<void> {
    return new Promise((resolve) => {
      const soon = (): void => void setTimeout(resolve, coldPatience * 1000).unref();
      if (this.#cold.signal.aborted) soon();
      else this.#cold.signal.addEventListener("abort", soon, { once: true });
    });
  }
}

function superuserNotice(): readonly string[] {
  const warning = superuserWarning({
    uid: process.getuid?.(),
    euid: process.geteuid?.(),
    gid: process.getgid?.(),
    egid: process.getegid?.(),
  });
  return warning === undefined ? [] : [warning];
}

interface WorkerParts {
  readonly broker: Broker;
  readonly pool: Pool;
  readonly dispatch: Dispatch;
  readonly intake: Intake;
  readonly consumer: Consumer;
  readonly connection: Connection;
}
