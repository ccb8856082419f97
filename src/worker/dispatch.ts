import { crashesHeader, markOf } from "../broker/marks.ts";
import type { Job } from "../execution/job.ts";
import type { Completed, Outcome } from "../execution/outcome.ts";
import type { Logger } from "../log.ts";
import type { Pool, Runner } from "../pool/pool.ts";
import { legible } from "../util/legible.ts";
import type { HandOvers } from "./hand-over.ts";
import { Interrupted } from "./interrupted.ts";
import { MemoryWatch } from "./memory-watch.ts";
import type { Request } from "./request.ts";
import type { ResultKeeper } from "./result-keeper.ts";
import type { Revocation } from "./revocation.ts";
import { type Settlement, type SettleRules, settle, whereKept } from "./settle.ts";
import type { WorkerState } from "./state.ts";
import type { TaskWatcher } from "./task-events.ts";
import type { TimeLimits } from "./time-limits.ts";

export interface DispatchParts {
  readonly pool: Pool;
  readonly state: WorkerState;
  readonly hostname: string;
  readonly limits: TimeLimits;
  readonly results: ResultKeeper;
  /** Where messages and results are in one store: ends tasks in one step. */
  readonly handOvers: HandOvers | null;
  readonly interrupted: Interrupted;
  readonly events: TaskWatcher;
  readonly logger: Logger;
  readonly revocation: Revocation;
  readonly rules: Omit<SettleRules, "crashes">;
  /** A task has begun whose message is about to be acknowledged; null where nobody counts. */
  readonly onOccupied: (() => void) | null;
  /** A task has ended. */
  readonly onEnded: (request: Request) => void;
  /** A task was put on the shelf. */
  readonly onShelved: (request: Request) => void;
  readonly onSettleError: (error: unknown) => void;
}

/**
 * Free slot and waiting request: run it, keep its result, settle its message. The slot is free
 * again as soon as the task has ended; storing and acknowledging go on beside it, in batches.
 */
export class Dispatch {
  readonly #parts: DispatchParts;
  readonly #queue: Request[] = [];
  /** Results and acknowledgements on their way. */
  #closing = 0;
  readonly #quiet: (() => void)[] = [];
  #head = 0;
  #running = 0;
  /** In the pool's hands, or about to be. */
  readonly #given = new Set<Request>();
  /** By what the pool was given of it. */
  readonly #jobs = new Map<Job, Request>();
  /** Of a task that has killed no child. */
  readonly #rules: SettleRules;
  #stopped = false;
  #cold = false;
  /** Stopped because their message cannot be acknowledged any more. */
  readonly #cancelled = new WeakSet<Request>();
  readonly #memory = new MemoryWatch();

  constructor(parts: DispatchParts) {
    this.#parts = parts;
    this.#rules = { ...parts.rules, crashes: 0 };
  }

  reserve(request: Request): void {
    if (this.#stopped) return; // the subscription gives it back
    request.phase = { name: "reserved" };
    this.#parts.state.reserved.add(request);
    if (this.#running < this.#parts.pool.size) this.#start(request);
    else this.#queue.push(request);
  }

  /** Starts nothing more. What is not in the pool's hands is no longer waited with: these are to be given back. */
  stop(): readonly Request[] {
    this.#recall();
    const { reserved } = this.#parts.state;
    const waiting = [...reserved].filter((request) => !this.#given.has(request));
    this.#stopped = true;
    for (const request of waiting) reserved.delete(request);
    this.#queue.length = 0;
    this.#head = 0;
    return waiting;
  }

  /** The pool is about to be killed: its deaths are no failures of tasks. */
  goCold(): void {
    this.#cold = true;
    this.#parts.results.letGo();
  }

  /**
   * Stops tasks that acknowledge late and whose message the broker took back: it is run by
   * somebody else now (inventory G85). What this pool cannot stop runs on.
   */
  cancelLost(): void {
    const { state, pool, logger } = this.#parts;
    for (const request of state.active) {
      if (!request.policy.acksLate || !request.delivery.lost) continue;
      logger.warn(
        "Task %s[%s] cannot be acknowledged after a connection loss since late acknowledgement is enabled for it.\n" +
          "Terminating it instead.",
        request.name,
        request.id,
      );
      if (pool.terminate(request.id, "SIGTERM")) this.#cancelled.add(request);
    }
  }

  /** Something has been revoked: what the pool has in hand and has not begun is looked at again before it does. */
  reconsider(): void {
    const { revocation } = this.#parts;
    for (const request of this.#given) {
      if (request.phase.name !== "reserved" || !revocation.concerns(request)) continue;
      this.#recall();
      return this.#next();
    }
  }

  /** What the pool has not begun waits here again, at the head. */
  #recall(): void {
    const back: Request[] = [];
    for (const job of this.#parts.pool.recall?.() ?? []) {
      const request = this.#jobs.get(job);
      if (request === undefined) continue;
      this.#jobs.delete(job);
      this.#given.delete(request);
      this.#running -= 1;
      back.push(request);
    }
    if (back.length === 0) return;
    this.#queue.splice(0, this.#head, ...back);
    this.#head = 0;
  }

  /** Waiting requests whose delivery the broker took back are dropped: they come again. */
  dropLost(): void {
    this.#recall();
    const waiting = this.#queue.slice(this.#head);
    this.#queue.length = 0;
    this.#head = 0;
    for (const request of waiting) {
      if (request.delivery.lost) this.#parts.state.reserved.delete(request);
      else this.#queue.push(request);
    }
    this.#next();
  }

  /** The pool takes more than before: what waits may begin. */
  poolGrown(): void {
    this.#next();
  }

  /** Resolves when every result is stored and every message settled. */
  settled(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#closing === 0) resolve();
      else this.#quiet.push(resolve);
    });
  }

  #start(request: Request): void {
    if (this.#parts.revocation.stops(request)) {
      this.#parts.state.reserved.delete(request);
      return;
    }
    this.#running += 1;
    this.#given.add(request);
    this.#run(request);
  }

  #run(request: Request): void {
    const job = this.#job(request);
    this.#jobs.set(job, request);
    void this.#parts.pool
      .run(job, (runner) => this.#accepted(request, runner))
      .then(
        ({ outcome, runner }) => this.#ended(request, job, outcome, runner),
        // A pool makes an outcome of whatever happens to a task: only a message it cannot hand on gets here.
        (error: unknown) => this.#ended(request, job, { kind: "invalid", reason: String(error), record: null }, null),
      );
  }

  #job(request: Request): Job {
    const { limits, hostname } = this.#parts;
    const { delivery, message, policy } = request;
    const { hard, soft } = limits.ofMessage(message, policy);
    return {
      message,
      address: delivery.address,
      queue: delivery.queue,
      redelivered: delivery.redelivered,
      hostname,
      timeLimit: hard,
      softTimeLimit: soft,
    };
  }

  #accepted(request: Request, runner: Runner): void {
    const { state, revocation, onSettleError } = this.#parts;
    request.phase = { name: "active", runner, since: new Date() };
    state.reserved.delete(request);
    state.active.add(request);
    state.count(request.name, runner.pid);
    this.#parts.events.started(request);
    if (!request.policy.acksLate) {
      this.#parts.onOccupied?.();
      request.delivery.ack().catch(onSettleError);
    }
    if (request.policy.acksLate && request.policy.rejectOnWorkerLost) this.#memory.watch(runner.pid);
    revocation.accepted(request);
  }

  #ended(request: Request, job: Job, outcome: Outcome, runner: Runner | null): void {
    this.#jobs.delete(job);
    this.#free(request);
    const stopped = outcome.kind === "lost" || outcome.kind === "terminated";
    if (stopped && (this.#cold || this.#cancelled.has(request))) {
      if (request.phase.name === "active" && (!request.policy.acksLate || this.#cancelled.has(request)))
        this.#track(this.#cancel(request));
      return; // what acknowledges late goes back unsettled
    }
    const [end, settlement] = this.#judge(request, outcome, runner);
    this.#log(request, end, settlement, runner);
    this.#track(this.#close(request, end, settlement));
  }

  /** Counts it among what is on its way, until it is done. */
  #track(closing: Promise<void>): void {
    this.#closing += 1;
    closing.then(this.#closed, (error: unknown) => {
      this.#parts.onSettleError(error);
      this.#closed();
    });
  }

  /** Who waits for it is told in Celery's way (inventory G7, G85): of one acknowledged early it is the last word. */
  async #cancel(request: Request): Promise<void> {
    const { message, policy, name, id } = request;
    if (!policy.acksLate)
      this.#parts.logger.warn("Task %s[%s] was cancelled: it had been acknowledged and will not run again", name, id);
    this.#parts.events.cancelled(request);
    await this.#parts.interrupted.cancelled(message, policy);
  }

  readonly #closed = (): void => {
    this.#closing -= 1;
    if (this.#closing === 0) for (const resolve of this.#quiet.splice(0)) resolve();
  };

  #next(): void {
    while (!this.#stopped && this.#running < this.#parts.pool.size && this.#head < this.#queue.length) {
      const request = this.#queue[this.#head] as Request;
      this.#head += 1;
      if (this.#head > 1_000) {
        this.#queue.splice(0, this.#head);
        this.#head = 0;
      }
      this.#start(request);
    }
    if (this.#head === this.#queue.length) {
      this.#queue.length = 0;
      this.#head = 0;
    }
  }

  /** Result first, message last: a crash in between runs the task again rather than losing it. */
  async #close(request: Request, outcome: Outcome, settlement: Settlement): Promise<void> {
    const { delivery } = request;
    request.phase = { name: "done", settlement };
    const kept = await this.#keep(request, outcome, settlement);
    if (kept === "elsewhere") return;
    this.#parts.events.ended(request, outcome, settlement);
    if (kept === "settled") return;
    if (settlement === "ack") await delivery.ack();
    else if (settlement === "requeue") await delivery.reject({ requeue: true, ...marksOf(request, outcome) });
    else await delivery.reject({ requeue: false, reason: reasonOf(outcome), shelf: settlement === "shelf" });
  }

  /**
   * Sees to what the end leaves behind. `settled`: the message went with it. `elsewhere`: it is
   * somebody else's by now, who runs the task again, and this run leaves no trace.
   */
  async #keep(request: Request, outcome: Outcome, settlement: Settlement): Promise<"kept" | "settled" | "elsewhere"> {
    const { handOvers, results, interrupted } = this.#parts;
    if (isInterrupted(outcome)) {
      if (settlement !== "requeue") await interrupted.ended(request.message, request.task, outcome);
      return "kept";
    }
    if (!("record" in outcome)) return "kept";
    const handOver = "handOver" in outcome ? outcome.handOver : undefined;
    const isWorth =
      handOver !== undefined || (request.policy.acksLate && settlement === "ack" && outcome.record !== null);
    if (handOvers && isWorth && outcome.record?.store === undefined) {
      const ends = settlement === "ack" ? request.delivery : null;
      if (!(await handOvers.make(ends, outcome.record, handOver))) return "elsewhere";
      return ends === null ? "kept" : "settled";
    }
    if (outcome.record !== null) await results.keep(outcome.record);
    return "kept";
  }

  /** The end, with all that is known of it, and what becomes of the message. */
  #judge(request: Request, outcome: Outcome, runner: Runner | null): [Outcome, Settlement] {
    const { rules, onShelved } = this.#parts;
    const crashes = crashesOf(request, outcome);
    const settlement = settle(outcome, request.policy, crashes === 0 ? this.#rules : { ...rules, crashes });
    if (settlement === "shelf") onShelved(request);
    if (settlement !== "dead" || outcome.kind !== "lost" || crashes < rules.maxCrashes) return [outcome, settlement];
    const memory = runner === null ? null : this.#memory.last(runner.pid);
    return [{ ...outcome, deaths: crashes, memory }, settlement];
  }

  /** The slot is free again. */
  #free(request: Request): void {
    this.#running -= 1;
    this.#given.delete(request);
    this.#parts.state.active.delete(request);
    this.#parts.state.reserved.delete(request);
    this.#parts.onEnded(request);
    this.#next();
  }

  #log(request: Request, outcome: Outcome, settlement: Settlement, runner: Runner | null): void {
    const { logger } = this.#parts;
    const processName = runner?.name ?? "MainProcess";
    const { name, id } = request;
    switch (outcome.kind) {
      case "success":
        if (logger.isLevelEnabled("info")) {
          logger.info(
            { processName },
            "Task %s[%s] succeeded in %ss: %s",
            name,
            id,
            runtimeText(outcome.runtime),
            outcome.result,
          );
        }
        return;
      case "failure":
        if (outcome.expected) logger.info({ processName }, "Task %s[%s] raised expected: %s", name, id, outcome.repr);
        else
          logger.error(
            { processName, err: outcome.traceback },
            "Task %s[%s] raised unexpected: %s",
            name,
            id,
            outcome.repr,
          );
        return;
      case "retry":
        return logger.info({ processName }, "Task %s[%s] retry: %s", name, id, outcome.repr);
      case "ignore":
        return logger.info({ processName }, "Task %s[%s] ignored", name, id);
      case "reject":
        return logger.warn(
          { processName },
          "Task %s[%s] reject requeue=%s: %s",
          name,
          id,
          outcome.requeue ? "True" : "False",
          outcome.reason,
        );
      case "invalid":
        return logger.error(
          { processName },
          "Task %s[%s] cannot be run: %s (queue %s; %s)",
          name,
          id,
          legible(outcome.reason),
          request.delivery.queue,
          whereKept(settlement),
        );
      case "time-limit":
        return logger.error("Hard time limit (%ss) exceeded for %s[%s]", outcome.seconds, name, id);
      case "terminated":
        this.#parts.revocation.terminated(request, outcome.signal);
        return logger.info("Task %s[%s] terminated (%s)", name, id, outcome.signal);
      case "lost": {
        const kept =
          outcome.deaths === undefined ? "" : ` (queue ${request.delivery.queue}; kept in the dead-letter store)`;
        return logger.error("Task %s[%s] raised unexpected: %s%s", name, id, Interrupted.error(outcome).message, kept);
      }
    }
  }
}

type Interruption = Exclude<Outcome, Completed>;

const isInterrupted = (outcome: Outcome): outcome is Interruption =>
  outcome.kind === "time-limit" || outcome.kind === "terminated" || outcome.kind === "lost";

/** Children that have died running it, this one included. */
function crashesOf(request: Request, outcome: Outcome): number {
  if (outcome.kind !== "lost" || !outcome.accepted || outcome.bystander) return 0;
  return markOf(request.message.headers, crashesHeader) + 1;
}

/** A message that goes back counts the children it has killed: the count outlives this worker. */
function marksOf(request: Request, outcome: Outcome): { readonly headers?: Readonly<Record<string, unknown>> } {
  const crashes = crashesOf(request, outcome);
  return crashes === 0 ? {} : { headers: { [crashesHeader]: crashes } };
}

function reasonOf(outcome: Outcome): string {
  switch (outcome.kind) {
    case "invalid":
      return legible(outcome.reason);
    case "reject":
      return outcome.reason;
    case "failure":
      return outcome.repr;
    case "lost":
      return Interrupted.error(outcome).message;
    default:
      return outcome.kind;
  }
}

/** Python prints floats as short as they are exact; so many digits serve nobody. */
const runtimeText = (seconds: number): string => String(Number(seconds.toPrecision(6)));
