import { randomBytes } from "node:crypto";
import { hostname as hostOfThisMachine } from "node:os";
import type { Tq } from "../app/app.ts";
import type { Broker, Queue } from "../broker/broker.ts";
import type { Settings } from "../config/settings.ts";
import { SecurityError } from "../errors.ts";
import type { RootLogger } from "../log.ts";
import { createLogger } from "../log-writer.ts";
import type { Pool } from "../pool/pool.ts";
import { expandNodename, nodename } from "../protocol/nodename.ts";
import { normalizeAccept } from "../serialization/registry.ts";
import { cpuCount } from "../system/cpu-count.ts";
import { acquirePidfile, type Pidfile } from "../system/pidfile.ts";
import { platformName } from "../system/platform.ts";
import { onSignal as listenTo } from "../system/posix-signals.ts";
import { setProcessTitle, workerTitle } from "../system/process-title.ts";
import { takeServiceManager } from "../system/sd-notify.ts";
import { takeSupervision } from "../system/supervision.ts";
import { type Service, startAll, stopAll } from "../util/service.ts";
import { codename, version } from "../version.ts";
import { assemble } from "./assemble.ts";
import { banner } from "./banner.ts";
import { createPool } from "./create-pool.ts";
import { endWithSupervisor } from "./leash.ts";
import type { WorkerOptions } from "./options.ts";
import { readinessService, watchdogService } from "./sd-notify.ts";
import { onSignal, type ShutdownPhase } from "./shutdown.ts";
import { WorkerState } from "./state.ts";
import { judgeSuperuser, processIds } from "./superuser.ts";

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
  readonly #stopping = new AbortController();
  readonly #cold = new AbortController();
  #services: readonly Service[] | undefined;

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
    const supervision = this.#options.supervision ?? takeSupervision(process.env);
    using _leash = endWithSupervisor(supervision, this, this.#logger);
    let pidfile: Pidfile | undefined;
    try {
      pidfile = await this.#writePidfile(supervision.replaces);
      await this.#start();
      if (this.#phase === "running") supervision.ready();
      const exitCode = await this.#ended;
      supervision.stopping();
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
    this.#stopping.abort();
    if (how === "cold") this.#cold.abort();
    void this.#app.signals.send("workerShuttingDown", { hostname: this.hostname, how, exitCode });
    this.#end(exitCode);
  }

  #onSignal(signal: "SIGTERM" | "SIGINT" | "SIGQUIT"): void {
    const step = onSignal(this.#phase, signal, this.#exitCode);
    if (step.message !== null) process.stderr.write(`\n${step.message}\n`);
    if (step.phase === "now") process.exit(step.exitCode);
    if (step.phase !== this.#phase) this.shutdown(step.phase as "warm" | "cold", step.exitCode);
  }

  async #writePidfile(replaces: number | null): Promise<Pidfile | undefined> {
    const { pidfile } = this.#options;
    return pidfile
      ? await acquirePidfile(expandNodename(pidfile, { nodename: this.hostname }), { replaces })
      : undefined;
  }

  async #start(): Promise<void> {
    const app = this.#app;
    const options = this.#options;
    app.logger = this.#logger;
    setProcessTitle(workerTitle(this.hostname, "MainProcess"));
    const manager = takeServiceManager(process.env, this.#logger);
    const superuser = judgeSuperuser(processIds(), normalizeAccept(this.#settings.acceptContent), process.env);
    if (superuser.kind === "refuse") throw new SecurityError(superuser.text);
    await app.loadModules(options.include, options.cwd);
    // Options are completed when first asked for: a mistake in them is told now, not by the first message.
    for (const task of app.tasks) void task.options;
    const queues = this.#selectQueues();
    const concurrency = options.concurrency ?? this.#settings.workerConcurrency ?? cpuCount();
    const broker = await app.createBroker("read", this.#logger);
    const pool = createPool({
      app,
      options,
      hostname: this.hostname,
      concurrency,
      logger: this.#logger,
      onFatal: (error) => {
        this.#logger.fatal("%s", error.message);
        this.shutdown("warm", 1);
      },
    });
    const assembly = assemble(
      {
        app,
        options,
        hostname: this.hostname,
        logger: this.#logger,
        state: this.state,
        cold: this.#cold.signal,
        shutdown: (how, exitCode) => this.shutdown(how, exitCode),
      },
      { broker, queues, pool },
    );
    this.#services = manager
      ? [watchdogService(manager), ...assembly.services, readinessService(manager, this.hostname)]
      : assembly.services;
    if (!options.quiet) this.#printBanner(broker, queues, pool, concurrency);
    const { warnings, notices } = app.conf.resolution;
    for (const notice of [...warnings, ...notices, ...(superuser.kind === "warn" ? [superuser.text] : [])])
      this.#logger.warn("%s", notice);
    await app.signals.send("workerInit", { hostname: this.hostname });
    assembly.prepare();
    if (options.purge) await this.#purge(broker, queues);
    // Told to stop while the broker is still waited for: there is nothing to be ready for.
    await Promise.race([startAll(this.#services, this.#stopping.signal), this.#ended]);
    if (this.#phase !== "running") return;
    this.#logger.info("%s ready.", this.hostname);
    setProcessTitle(workerTitle(this.hostname, "MainProcess", { activity: "active", argv: process.argv.slice(2) }));
    await app.signals.send("workerReady", { hostname: this.hostname });
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
      taskEvents: this.#options.taskEvents ?? this.#settings.workerSendTaskEvents,
      queues,
      tasks: this.#app.tasks.names({ builtins: true }),
      loglevel: this.#options.loglevel ?? "WARNING",
    });
    process.stdout.write(`${text}\n`);
  }

  /** In reverse: stop taking, let run, keep results, settle, give back, let go. */
  async #stop(): Promise<void> {
    if (!this.#services) return;
    await stopAll(this.#services, this.#cold.signal);
    await this.#app.close();
    await this.#app.signals.send("workerShutdown", { hostname: this.hostname });
  }
}
