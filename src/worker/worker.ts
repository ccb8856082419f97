import { randomBytes } from "node:crypto";
import { hostname as hostOfThisMachine } from "node:os";
import type { Tq } from "../app/app.ts";
import type { ServiceHost } from "../app/services.ts";
import type { Broker, Queue } from "../broker/broker.ts";
import type { Settings } from "../config/settings.ts";
import { SecurityError } from "../errors.ts";
import type { RootLogger } from "../log.ts";
import type { Pool } from "../pool/pool.ts";
import { expandNodename, nodename } from "../protocol/nodename.ts";
import { normalizeAccept } from "../serialization/registry.ts";
import { cpuCount } from "../system/cpu-count.ts";
import { acquirePidfile, type Pidfile } from "../system/pidfile.ts";
import { platformName } from "../system/platform.ts";
import { onSignal as listenTo } from "../system/posix-signals.ts";
import { reportProcess } from "../system/process-report.ts";
import { setProcessTitle, workerTitle } from "../system/process-title.ts";
import { debuggable, letDebuggerIn } from "../system/remote-debugger.ts";
import { takeServiceManager } from "../system/sd-notify.ts";
import { readinessService, watchdogService } from "../system/sd-services.ts";
import { takeSupervision } from "../system/supervision.ts";
import { type Service, startAll, stopAll } from "../util/service.ts";
import { codename, version } from "../version.ts";
import { assemble } from "./assemble.ts";
import { type BannerFacts, banner } from "./banner.ts";
import { createPool, runsInPlace } from "./create-pool.ts";
import { loadAutoscaler } from "./custom-autoscaler.ts";
import { placeServices } from "./custom-services.ts";
import { embeddedBeat } from "./embedded-beat.ts";
import { Ladder } from "./ladder.ts";
import { endWithSupervisor } from "./leash.ts";
import { setUpLogging } from "./logging.ts";
import { createMetrics } from "./metrics.ts";
import type { WorkerOptions } from "./options.ts";
import type { StopSignal } from "./shutdown.ts";
import { WorkerState } from "./state.ts";
import { statusReport } from "./status-report.ts";
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
  /** Resolves when it is told to stop. */
  readonly #ended: Promise<void>;
  readonly #ladder: Ladder;
  #restart = false;
  #pidfile: Pidfile | undefined;
  #services: readonly Service[] | undefined;
  #pool: Pool | undefined;

  constructor(app: Tq, options: WorkerOptions = {}) {
    this.#app = app;
    this.#options = options;
    if (options.overrides) app.conf.setFlags(options.overrides);
    this.#settings = app.conf.settings;
    this.hostname = nodename(options.hostname, hostOfThisMachine());
    const logging = {
      level: options.loglevel ?? "WARNING",
      ...(options.logfile
        ? { destination: expandNodename(options.logfile, { nodename: this.hostname, pid: process.pid }) }
        : {}),
      color: this.#settings.workerLogColor,
      format: this.#settings.workerLogFormat,
      taskFormat: this.#settings.workerTaskLogFormat,
    };
    this.#logger = setUpLogging(logging, app.signals);
    this.#ladder = this.#createLadder();
    this.#ended = new Promise((resolve) => {
      this.#ladder.stopping.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  /** Whether the process is to start again as it was started (HUP), once `run` has resolved. */
  get wantsRestart(): boolean {
    return this.#restart;
  }

  /** Starts, works until told to stop, stops. Resolves to the code the process should exit with. */
  async run(): Promise<number> {
    using _stops = listenTo(["SIGTERM", "SIGINT", "SIGQUIT"], (signal) => this.#onStop(signal as StopSignal));
    using _hangup = listenTo(["SIGHUP"], () => this.#onHangup());
    using _report = listenTo(["SIGUSR1"], () => void this.#report());
    using _reopen = listenTo(["SIGUSR2"], () => this.#onUsr2());
    const supervision = this.#options.supervision ?? takeSupervision(process.env);
    using _leash = endWithSupervisor(supervision, this, this.#logger);
    try {
      await this.#writePidfile(supervision.replaces);
      await this.#start();
      if (this.#ladder.phase === "running") supervision.ready();
      await this.#ended;
      supervision.stopping();
      await this.#stop();
      return this.#ladder.exitCode;
    } catch (error) {
      this.#restart = false;
      this.#ladder.shutdown("cold", 1);
      await this.#stop();
      throw error;
    } finally {
      this.#ladder[Symbol.dispose]();
      this.#pidfile?.release();
      this.#logger.close();
    }
  }

  /** Tells a running worker to stop: `warm` lets tasks finish, `cold` gives them back. */
  shutdown(how: "warm" | "cold" = "warm", exitCode = 0): void {
    this.#ladder.shutdown(how, exitCode);
  }

  #createLadder(): Ladder {
    const { workerSoftShutdownTimeout, workerEnableSoftShutdownOnIdle, workerGrace } = this.#settings;
    const { TQ_REMAP_SIGTERM, REMAP_SIGTERM } = process.env;
    return new Ladder({
      remapTerm: (TQ_REMAP_SIGTERM ?? REMAP_SIGTERM) === "SIGQUIT",
      softTimeout: workerSoftShutdownTimeout,
      softOnIdle: workerEnableSoftShutdownOnIdle,
      grace: this.#options.grace ?? workerGrace,
      logger: this.#logger,
      busy: () => this.state.active.size > 0,
      say,
      onStep: (step) => {
        void this.#app.signals.send("workerShuttingDown", { hostname: this.hostname, ...step });
      },
      exit: (exitCode) => {
        this.#pidfile?.release();
        process.exit(exitCode);
      },
    });
  }

  #onStop(signal: StopSignal): void {
    // Whoever says stop now has changed his mind about the restart he asked for.
    this.#restart = false;
    this.#ladder.signal(signal);
  }

  /** Restart (inventory G9); where it is the terminal that went away, a warm stop. */
  #onHangup(): void {
    if (this.#ladder.phase !== "running") return;
    if (process.stdout.isTTY) return this.#ladder.signal("SIGTERM");
    if (process.platform === "darwin") {
      say("SIGHUP not supported: Restarting with SIGHUP is unstable on this platform!");
      return;
    }
    say(`Restarting tq worker (${process.argv.slice(1).join(" ")})`);
    this.#restart = true;
    this.#ladder.shutdown("warm", 0);
  }

  /** Opens the log file anew; lets a debugger in where that is allowed (inventory G11). */
  #onUsr2(): void {
    this.#logger.reopen();
    if (!debuggable(process.env)) return;
    this.#logger.warn("A debugger may come in at %s", letDebuggerIn(process.env) ?? "no port: none is free");
  }

  /** Says in the log what this process and each of its children are doing (inventory G10). */
  async #report(): Promise<void> {
    const members = (await this.#pool?.report?.()) ?? [];
    const { active, reserved, scheduled, processed, startedAt } = this.state;
    const now = new Date();
    const running = [...active].flatMap(({ name, id, phase }) =>
      phase.name === "active" ? [{ name, id, runner: phase.runner, since: phase.since }] : [],
    );
    const facts = {
      hostname: this.hostname,
      pid: process.pid,
      phase: this.#ladder.phase,
      upMs: now.getTime() - startedAt,
      counts: { reserved: reserved.size, scheduled: scheduled.size, processed },
      main: reportProcess(),
      members,
      running,
    };
    this.#logger.warn("%s", statusReport(facts, now));
  }

  async #writePidfile(replaces: number | null): Promise<void> {
    const { pidfile } = this.#options;
    if (!pidfile) return;
    this.#pidfile = await acquirePidfile(expandNodename(pidfile, { nodename: this.hostname }), { replaces });
  }

  async #start(): Promise<void> {
    const app = this.#app;
    const options = this.#options;
    app.logger = this.#logger;
    setProcessTitle(workerTitle(this.hostname, "MainProcess"));
    const manager = takeServiceManager(process.env, this.#logger);
    const superuser = judgeSuperuser(processIds(), normalizeAccept(this.#settings.acceptContent), process.env);
    if (superuser.kind === "refuse") throw new SecurityError(superuser.text);
    const { hostname } = this;
    await app.signals.send("celerydInit", { hostname, instance: this, conf: app.conf, options: { ...options } });
    await app.loadModules(options.include, options.cwd);
    // Options are completed when first asked for: a mistake in them is told now, not by the first message.
    for (const task of app.tasks) void task.options;
    const queues = this.#selectQueues();
    const { autoscale } = options;
    const concurrency = autoscale?.min ?? options.concurrency ?? app.conf.settings.workerConcurrency ?? cpuCount();
    const broker = await app.createBroker("read", this.#logger, { mayBlock: runsInPlace(app, options) });
    const pool = await createPool({
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
    this.#pool = pool;
    const assembly = assemble(
      {
        app,
        options,
        hostname: this.hostname,
        logger: this.#logger,
        state: this.state,
        ladder: this.#ladder,
        shutdown: (how, exitCode) => this.shutdown(how, exitCode),
      },
      {
        broker,
        queues,
        pool,
        autoscale: autoscale === undefined ? null : await loadAutoscaler(app, options.cwd ?? process.cwd()),
        metrics: options.metricsPort === undefined ? null : await createMetrics(),
      },
    );
    const beat = options.beat
      ? embeddedBeat({
          app,
          logger: this.#logger,
          schedule: options.scheduleFilename,
          onFatal: (error) => {
            this.#logger.fatal({ err: error }, "beat raised exception %s: %s", error.name, error.message);
            this.shutdown("warm", 1);
          },
        })
      : undefined;
    this.#services = [
      ...(manager ? [watchdogService(manager)] : []),
      ...placeServices(assembly.services, app.services, this.#host(pool)),
      ...(beat ? [beat] : []),
      ...(manager ? [readinessService(manager, this.hostname)] : []),
    ];
    await app.signals.send("celerydAfterSetup", { hostname: this.hostname, instance: this, conf: app.conf });
    if (!options.quiet) this.#printBanner(broker, queues, pool, autoscale ?? concurrency);
    const { warnings, notices } = app.conf.resolution;
    for (const notice of [...warnings, ...notices, ...(superuser.kind === "warn" ? [superuser.text] : [])])
      this.#logger.warn("%s", notice);
    await app.signals.send("workerInit", { hostname: this.hostname });
    assembly.prepare();
    if (options.purge) await this.#purge(broker, queues);
    // Told to stop while the broker is still waited for: there is nothing to be ready for.
    await Promise.race([startAll(this.#services, this.#ladder.stopping), this.#ended]);
    if (this.#ladder.phase !== "running") return;
    this.#logger.info("%s ready.", this.hostname);
    setProcessTitle(workerTitle(this.hostname, "MainProcess", { activity: "active", argv: process.argv.slice(2) }));
    await app.signals.send("workerReady", { hostname: this.hostname });
  }

  /** The worker as its users' services see it. */
  #host(pool: Pool): ServiceHost {
    const { state } = this;
    return {
      hostname: this.hostname,
      logger: this.#logger,
      counts: () => ({
        active: state.active.size,
        reserved: state.reserved.size,
        scheduled: state.scheduled.size,
        processed: state.processed,
      }),
      pool: () => pool.stats(),
      shutdown: (how, exitCode) => this.shutdown(how, exitCode),
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

  #printBanner(broker: Broker, queues: readonly Queue[], pool: Pool, concurrency: BannerFacts["concurrency"]): void {
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
    await stopAll(this.#services, this.#ladder.cold);
    await this.#app.close();
    await this.#app.signals.send("workerShutdown", { hostname: this.hostname });
  }
}

/** As Celery says it: to the terminal, whatever the log level, between empty lines. */
function say(message: string): void {
  process.stdout.write(`\n${message}\n`);
}
