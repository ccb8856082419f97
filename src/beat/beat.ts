import type { Tq } from "../app/app.ts";
import { effectiveBrokerUrls } from "../config/effective.ts";
import { maskUrl } from "../config/url.ts";
import type { RootLogger } from "../log.ts";
import { createLogger } from "../log-writer.ts";
import { acquirePidfile, type Pidfile } from "../system/pidfile.ts";
import { onSignal } from "../system/posix-signals.ts";
import { describeProcess, reportProcess } from "../system/process-report.ts";
import { setProcessTitle } from "../system/process-title.ts";
import { takeServiceManager } from "../system/sd-notify.ts";
import { readinessService, watchdogService } from "../system/sd-services.ts";
import { type Supervision, takeSupervision } from "../system/supervision.ts";
import { type Service, startAll, stopAll } from "../util/service.ts";
import { codename, version } from "../version.ts";
import { beatBanner } from "./banner.ts";
import type { BeatOptions } from "./options.ts";
import { BeatService, beatParts } from "./service.ts";

/** Seconds a send that is under way may take when beat is told to stop. */
const stopPatience = 10;

/** The scheduler as a process of its own: sends what is due until it is told to stop. Exactly one may run. */
export class Beat {
  readonly #app: Tq;
  readonly #options: BeatOptions;
  readonly #supervision: Supervision;
  readonly #logger: RootLogger;
  readonly #stopping = new AbortController();

  constructor(app: Tq, options: BeatOptions = {}, supervision: Supervision = takeSupervision(process.env)) {
    this.#app = app;
    this.#options = options;
    this.#supervision = supervision;
    const { settings } = app.conf;
    this.#logger = createLogger({
      level: options.loglevel ?? "WARNING",
      ...(options.logfile === undefined ? {} : { destination: options.logfile }),
      color: settings.workerLogColor,
      format: settings.workerLogFormat,
    });
  }

  /** Runs until TERM or INT, or `shutdown`. Resolves to the exit code. */
  async run(): Promise<number> {
    const signals = onSignal(["SIGTERM", "SIGINT"], () => this.shutdown());
    const reopen = onSignal(["SIGUSR2", "SIGHUP"], () => this.#logger.reopen());
    const report = onSignal(["SIGUSR1"], () =>
      this.#logger.warn("Report of beat (pid %d): %s", process.pid, describeProcess(reportProcess())),
    );
    this.#supervision.onLost(() => this.shutdown());
    let pidfile: Pidfile | undefined;
    try {
      const { pidfile: path } = this.#options;
      pidfile = path === undefined ? undefined : await acquirePidfile(path);
      await this.#work();
      return 0;
    } finally {
      signals[Symbol.dispose]();
      reopen[Symbol.dispose]();
      report[Symbol.dispose]();
      await this.#app.close();
      pidfile?.release();
      this.#logger.close();
    }
  }

  shutdown(): void {
    this.#stopping.abort();
  }

  async #work(): Promise<void> {
    const app = this.#app;
    const logger = this.#logger;
    const options = this.#options;
    app.logger = logger;
    setProcessTitle(
      `[tq beat] ${process.argv
        .slice(2)
        .join(" ")
        .replace(/(\w+:\/\/[^\s:@/]*:)[^\s@/]+@/g, "$1**@")}`,
    );
    await app.loadModules(options.include, options.cwd);
    const parts = beatParts(app, logger, options);
    if (!options.quiet) {
      process.stdout.write(`tq beat v${version} (${codename}) is starting.\n`);
      process.stdout.write(
        `${beatBanner({ ...this.#facts(), schedule: parts.store.place, maxInterval: parts.maxInterval })}\n`,
      );
    }
    const { warnings, notices } = app.conf.resolution;
    for (const notice of [...warnings, ...notices]) logger.warn("%s", notice);
    const beat = new BeatService(parts);
    const manager = takeServiceManager(process.env, logger);
    const services: readonly Service[] = manager
      ? [watchdogService(manager), beat, readinessService(manager, "beat")]
      : [beat];
    logger.info("beat: Starting...");
    await app.signals.send("beatInit", { schedule: parts.store.place });
    await startAll(services);
    this.#supervision.ready();
    try {
      await Promise.race([beat.ended, aborted(this.#stopping.signal)]);
      logger.info("beat: Shutting down...");
    } catch (error) {
      const name = error instanceof Error ? error.constructor.name : typeof error;
      logger.fatal({ err: error }, "beat raised exception %s: %s", name, String(error));
      throw error;
    } finally {
      this.#supervision.stopping();
      await stopAll(services, AbortSignal.timeout(stopPatience * 1_000));
    }
  }

  #facts() {
    const { settings } = this.#app.conf;
    const [url = ""] = effectiveBrokerUrls(settings, "write");
    const { logfile, loglevel = "WARNING" } = this.#options;
    return { now: new Date(), broker: maskUrl(url), logfile, loglevel };
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
