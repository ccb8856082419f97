import { Socket } from "node:net";
import type { Tq } from "../../app/app.ts";
import { loadApp } from "../../app/load.ts";
import type { Executor } from "../../execution/executor.ts";
import type { Job } from "../../execution/job.ts";
import type { Completed } from "../../execution/outcome.ts";
import type { Ready } from "../../execution/ready.ts";
import type { Logger, LogLevel } from "../../log.ts";
import { setProcessTitle } from "../../system/process-title.ts";
import { birthVariable, type ChildBirth, encodeFromChild, type FromChild, type ToChild, ToChildReader } from "./ipc.ts";

/**
 * What runs in a child: load the app, then take jobs from the socket pair one after another.
 * The child exits when the other end is gone: it never outlives its parent.
 */
class ChildMain {
  readonly #birth: ChildBirth;
  readonly #channel = new Socket({ fd: 3, readable: true, writable: true });
  readonly #waiting: { readonly seq: number; readonly job: Job }[] = [];
  #executor: Executor | undefined;
  #app: Tq | undefined;
  #running = false;
  #leaving = false;
  #outgoing = "";

  constructor(birth: ChildBirth) {
    this.#birth = birth;
  }

  async start(): Promise<void> {
    const frames = new ToChildReader((frame) => this.#onFrame(frame));
    this.#channel.on("data", (chunk: Buffer) => frames.push(chunk));
    this.#channel.on("close", () => process.exit(0));
    this.#channel.on("error", () => process.exit(0));
    // The parent decides when to stop; a Ctrl-C reaches the whole process group.
    process.on("SIGINT", () => undefined);
    setProcessTitle(`[tq: ${this.#birth.hostname}:${this.#birth.name}]`);
    try {
      await this.#load();
    } catch (error) {
      this.#send({ kind: "failed", message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
      this.#flush();
      this.#channel.end(() => process.exit(1));
      return;
    }
    this.#send({ kind: "ready" });
    this.#flush();
    this.#next();
  }

  async #load(): Promise<void> {
    const { appSpec, cwd, include, overrides, hostname } = this.#birth;
    const app = (await loadApp(appSpec, { cwd })) as Tq;
    app.conf.setFlags(overrides);
    await app.loadModules(include);
    this.#app = app;
    this.#executor = app.executor({ logger: this.#logger() });
    await app.signals.send("workerProcessInit", { hostname });
  }

  #onFrame(frame: ToChild): void {
    if (frame.kind === "exit") return this.#leave();
    this.#waiting.push(frame);
    if (!this.#running && this.#executor) this.#next();
  }

  /** Takes the next job, if there is one. What the last one had to say leaves with its acceptance. */
  #next(): void {
    const next = this.#waiting.shift();
    if (!next) {
      this.#running = false;
      this.#flush();
      if (this.#leaving) this.#exit();
      return;
    }
    this.#running = true;
    void this.#serve(next.seq, next.job).then(() => this.#next());
  }

  async #serve(seq: number, job: Job): Promise<void> {
    const executor = this.#executor as Executor;
    const prepared = executor.prepare(job);
    const ready: Ready | Completed = prepared instanceof Promise ? await prepared : prepared;
    if (ready.kind !== "ready") {
      this.#send({ kind: "done", seq, outcome: ready });
      return;
    }
    this.#send({ kind: "accepted", seq });
    this.#flush(); // before the task: code that never yields would hold it back
    const outcome = await executor.run(ready);
    this.#send({ kind: "done", seq, outcome });
  }

  #send(frame: FromChild): void {
    this.#outgoing += encodeFromChild(frame);
  }

  #flush(): void {
    if (this.#outgoing === "") return;
    this.#channel.write(this.#outgoing);
    this.#outgoing = "";
  }

  #leave(): void {
    this.#leaving = true;
    if (!this.#running) this.#exit();
  }

  #exit(): void {
    const { hostname } = this.#birth;
    const goodbye = this.#app?.signals.send("workerProcessShutdown", { hostname, pid: process.pid, exitCode: 0 });
    void Promise.resolve(goodbye)
      .then(() => this.#app?.close())
      .catch(() => undefined)
      .then(() => this.#channel.end(() => process.exit(0)));
  }

  /** A logger whose lines are written by the parent, which owns the log file. */
  #logger(): Logger {
    const order: readonly LogLevel[] = ["trace", "debug", "info", "warn", "error", "fatal"];
    const threshold = order.indexOf(levelOf(this.#birth.loglevel));
    const make = (bindings: Readonly<Record<string, unknown>>): Logger => {
      const method =
        (level: LogLevel) =>
        (first: string | object, ...rest: readonly unknown[]): void => {
          if (order.indexOf(level) < threshold) return;
          const [fields, message] = typeof first === "string" ? [{}, first] : [first, String(rest[0] ?? "")];
          const err = (fields as { readonly err?: unknown }).err ?? (fields instanceof Error ? fields : undefined);
          const plain = fields instanceof Error ? {} : fields;
          const text = err instanceof Error ? { err: err.stack ?? err.message } : err === undefined ? {} : { err };
          this.#send({ kind: "log", level, message, fields: { ...bindings, ...plain, ...text } });
          if (!this.#running) this.#flush();
          else setImmediate(() => this.#flush());
        };
      return {
        trace: method("trace"),
        debug: method("debug"),
        info: method("info"),
        warn: method("warn"),
        error: method("error"),
        fatal: method("fatal"),
        level: this.#birth.loglevel,
        isLevelEnabled: (level: LogLevel) => order.indexOf(level) >= threshold,
        child: (more) => make({ ...bindings, ...more }),
      } as Logger;
    };
    return make({});
  }
}

function levelOf(name: string): LogLevel {
  const levels: Readonly<Record<string, LogLevel>> = { WARNING: "warn", CRITICAL: "fatal", FATAL: "fatal" };
  return levels[name.toUpperCase()] ?? (name.toLowerCase() as LogLevel);
}

const birth = JSON.parse(process.env[birthVariable] ?? "null") as ChildBirth | null;
if (birth) await new ChildMain(birth).start();
