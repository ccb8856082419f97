import { parentPort } from "node:worker_threads";
import { workerData } from "piscina";
import type { Tq } from "../app/app.ts";
import { loadApp } from "../app/load.ts";
import type { LogLevel } from "../log.ts";
import { reportProcess } from "../system/process-report.ts";
import { captureOutput, logsOfTasks } from "../task/captured-output.ts";
import { JobRunner } from "./job-runner.ts";
import { relayedLogger } from "./relayed-logger.ts";
import { startFailure } from "./start-failure.ts";
import type { FromThread, ThreadAnswer, ThreadBirth, ThreadOrder } from "./threads.ts";

/** What runs in a thread: loads the app, then takes orders until it is told to leave. */
class ThreadMain {
  readonly #birth: ThreadBirth;
  #app: Tq | undefined;
  #runner: JobRunner | undefined;
  #running = 0;
  #idle: (() => void) | undefined;

  constructor(birth: ThreadBirth) {
    this.#birth = birth;
  }

  async start(): Promise<void> {
    try {
      await this.#load();
      tell({ kind: "ready" });
    } catch (error) {
      tell({ kind: "failed", message: startFailure(error) });
      process.exit(1);
    }
  }

  async follow(order: ThreadOrder): Promise<ThreadAnswer> {
    const runner = this.#runner as JobRunner;
    if (order.kind === "abandon") return runner.abandon(order.seq, order.reason);
    if (order.kind === "report") return reportProcess();
    if (order.kind === "exit") return await this.#leave();
    this.#running += 1;
    try {
      return await runner.run(order.seq, order.job, () => tell({ kind: "accepted", seq: order.seq }));
    } finally {
      this.#running -= 1;
      if (this.#running === 0) this.#idle?.();
    }
  }

  async #load(): Promise<void> {
    const { appSpec, cwd, include, overrides, hostname, loglevel, logfile, redirect, slots } = this.#birth;
    const logger = relayedLogger(loglevel, (level, message, fields) => tell({ kind: "log", level, message, fields }));
    const captured =
      redirect === null ? undefined : captureOutput({ level: redirect as LogLevel, loggerOf: logsOfTasks(logger) });
    const app = (await loadApp(appSpec, { cwd })) as Tq;
    app.conf.setFlags(overrides);
    app.logger = logger;
    await app.loadModules(include);
    this.#app = app;
    const executor = app.executor({
      logger,
      logPlace: { file: logfile, level: loglevel },
      handsOver: true,
      ...(captured ? { onRunEnd: captured.flush } : {}),
    });
    await app.signals.send("workerProcessInit", { hostname });
    this.#runner = new JobRunner(executor, { stoppable: slots > 1 });
  }

  async #leave(): Promise<boolean> {
    if (this.#running > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
    const { hostname } = this.#birth;
    await this.#app?.signals.send("workerProcessShutdown", { hostname, pid: process.pid, exitCode: 0 });
    await this.#app?.close();
    return true;
  }
}

function tell(message: FromThread): void {
  parentPort?.postMessage(message);
}

const main = new ThreadMain(workerData as ThreadBirth);
await main.start();

/** What Piscina calls. */
export default (order: ThreadOrder): Promise<ThreadAnswer> => main.follow(order);
