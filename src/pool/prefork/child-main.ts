import { type ConnectOpts, Socket, type SocketConstructorOpts } from "node:net";
import type { Tq } from "../../app/app.ts";
import { loadApp } from "../../app/load.ts";
import type { Job } from "../../execution/job.ts";
import { reportProcess } from "../../system/process-report.ts";
import { setProcessTitle } from "../../system/process-title.ts";
import { hasInspectorFlags } from "../../system/remote-debugger.ts";
import { captureOutput, logsOfTasks } from "../../task/captured-output.ts";
import { JobRunner } from "../job-runner.ts";
import { relayedLogger } from "../relayed-logger.ts";
import { startFailure } from "../start-failure.ts";
import { takeClaim } from "./claims.ts";
import {
  birthVariable,
  type ChildBirth,
  childFds,
  encodeFromChild,
  type FromChild,
  type ToChild,
  ToChildReader,
} from "./ipc.ts";

/** Bytes read in one step: as much as the system keeps for a socket. */
const readAtOnce = 262_144;

/**
 * What runs in a child: load the app, then take jobs from its parent, as many at once as it
 * has slots. The child exits when the other end is gone: it never outlives its parent.
 */
class ChildMain {
  readonly #birth: ChildBirth;
  readonly #frames = new ToChildReader((frame) => this.#onFrame(frame));
  readonly #answers = new Socket({ fd: childFds.answers, writable: true });
  readonly #orders = new Socket({
    fd: childFds.orders,
    readable: true,
    // One buffer for all that comes: each time another one would be memory for the collector to look after.
    onread: { buffer: Buffer.allocUnsafeSlow(readAtOnce), callback: (length, buffer) => this.#onRead(length, buffer) },
  } as SocketConstructorOpts & ConnectOpts);
  #waiting: { readonly seq: number; readonly job: Job }[] = [];
  /** Taken as its own before it was read from the socket. */
  #claimed: number | undefined;
  #runner: JobRunner | undefined;
  #app: Tq | undefined;
  #running = 0;
  #leaving = false;
  #outgoing = "";

  constructor(birth: ChildBirth) {
    this.#birth = birth;
  }

  async start(): Promise<void> {
    this.#orders.on("close", () => process.exit(0));
    for (const channel of [this.#orders, this.#answers]) channel.on("error", () => process.exit(0));
    // The parent decides when to stop; a Ctrl-C reaches the whole process group.
    process.on("SIGINT", () => undefined);
    // They mean something to the parent. Here one would end the process; the other is Node's own, by which the parent sees its stack.
    process.on("SIGUSR2", () => undefined);
    if (!hasInspectorFlags()) process.on("SIGUSR1", () => undefined);
    setProcessTitle(`[tq: ${this.#birth.hostname}:${this.#birth.name}]`);
    try {
      await this.#load();
    } catch (error) {
      this.#send({ kind: "failed", message: startFailure(error) });
      this.#flush();
      this.#answers.end(() => process.exit(1));
      return;
    }
    this.#send({ kind: "ready", listensToUsr1: process.listenerCount("SIGUSR1") > 0 });
    this.#flush();
    this.#next();
  }

  async #load(): Promise<void> {
    const { appSpec, cwd, include, overrides, hostname, loglevel, logfile, redirect, slots } = this.#birth;
    const logger = relayedLogger(loglevel, (level, message, fields) => {
      this.#send({ kind: "log", level, message, fields });
      this.#flush(); // with the parent when the call returns: nothing is lost with this process
    });
    const captured = redirect === null ? undefined : captureOutput({ level: redirect, loggerOf: logsOfTasks(logger) });
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

  #onRead(length: number, buffer: Uint8Array): boolean {
    this.#frames.push((buffer as Buffer).subarray(0, length));
    // All of them first: what was taken back meanwhile is passed over in one step.
    if (this.#runner) this.#next();
    return true;
  }

  #onFrame(frame: ToChild): void {
    switch (frame.kind) {
      case "exit":
        this.#leaving = true;
        return;
      case "report":
        this.#send({ kind: "report", report: reportProcess() });
        return this.#flush();
      case "abandon": {
        const abandoned = this.#runner?.abandon(frame.seq, frame.reason) ?? false;
        this.#send({ kind: "abandoned", seq: frame.seq, ended: !abandoned });
        return this.#flush();
      }
      case "run":
        this.#waiting.push(frame);
    }
  }

  /** Begins what there is room for. What the last one had to say leaves with the next one's acceptance. */
  #next(): void {
    const runner = this.#runner as JobRunner;
    while (this.#running < this.#birth.slots) {
      const next = this.#take();
      if (!next) break;
      this.#running += 1;
      void this.#serve(runner, next.seq, next.job).then(() => {
        this.#running -= 1;
        this.#next();
      });
    }
    this.#flush();
    if (this.#leaving && this.#running === 0) this.#exit();
  }

  /** The next job that is still its own; whatever stood before it was taken back. */
  #take(): { readonly seq: number; readonly job: Job } | undefined {
    if (!this.#birth.claims) return this.#waiting.shift();
    if (this.#waiting.length === 0) return undefined;
    this.#claimed ??= takeClaim(childFds.claims);
    const mine = this.#claimed === undefined ? -1 : this.#waiting.findIndex(({ seq }) => seq === this.#claimed);
    const next = this.#waiting[mine];
    this.#waiting = mine < 0 ? [] : this.#waiting.slice(mine + 1);
    if (next) this.#claimed = undefined;
    return next;
  }

  async #serve(runner: JobRunner, seq: number, job: Job): Promise<void> {
    const outcome = await runner.run(seq, job, () => {
      this.#frames.forgetBody(job);
      this.#send({ kind: "accepted", seq });
      this.#flush(); // before the task: code that never yields would hold it back
    });
    this.#send({ kind: "done", seq, outcome });
  }

  #send(frame: FromChild): void {
    this.#outgoing += encodeFromChild(frame);
  }

  #flush(): void {
    if (this.#outgoing === "") return;
    this.#answers.write(this.#outgoing);
    this.#outgoing = "";
  }

  #exit(): void {
    const { hostname } = this.#birth;
    const goodbye = this.#app?.signals.send("workerProcessShutdown", { hostname, pid: process.pid, exitCode: 0 });
    void Promise.resolve(goodbye)
      .then(() => this.#app?.close())
      .catch(() => undefined)
      .then(() => this.#answers.end(() => process.exit(0)));
  }
}

const birth = JSON.parse(process.env[birthVariable] ?? "null") as ChildBirth | null;
delete process.env[birthVariable];
if (birth) await new ChildMain(birth).start();
