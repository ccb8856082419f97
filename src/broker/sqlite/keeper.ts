import { program } from "../../system/installation.ts";
import { isInSight, livenessOf, type ProcessIdentity } from "../../system/process-identity.ts";
import type { Sqlite } from "../../system/sqlite.ts";
import { LeaseKeeper } from "../lease-keeper.ts";
import type { BrokerLog } from "../options.ts";
import { bell } from "./bell.ts";
import type { SqliteLease } from "./lease-thread.ts";
import type { ConsumerRow, Queries } from "./queries.ts";

export interface KeeperOptions {
  /** Seconds after which a consumer that has not renewed, and cannot be seen to live, counts as dead. */
  readonly lease: number;
  readonly identity: ProcessIdentity;
  /** Tasks may block the event loop: the consumers are known to live all the same. */
  readonly mayBlock: boolean;
  readonly logger: BrokerLog | undefined;
}

/** A consumer of this process. */
export interface Kept {
  readonly id: number;
  readonly node: string;
}

/** Parked messages, and queues' messages, moved in one transaction: a few milliseconds' worth. */
const handful = 500;

/**
 * While a process consumes, it keeps three promises for all: its own consumers are known to
 * live; what consumers that died were holding goes back to its queues, within seconds and
 * whoever they were; parked messages wait again when they are due.
 */
export class Keeper {
  readonly #db: Sqlite;
  readonly #queries: Queries;
  readonly #options: KeeperOptions;
  readonly #consumers = new Map<number, Kept>();
  #renewal: NodeJS.Timeout | undefined;
  #sweep: NodeJS.Timeout | undefined;
  #alarm: NodeJS.Timeout | undefined;
  #stopListening: (() => void) | undefined;
  #whileBlocked: LeaseKeeper | undefined;
  #checking = false;
  /** Grows with every start and stop: a round of an earlier shift does not go on in a later one. */
  #shift = 0;

  constructor(db: Sqlite, queries: Queries, options: KeeperOptions) {
    this.#db = db;
    this.#queries = queries;
    this.#options = options;
  }

  add(consumer: Kept): void {
    this.#consumers.set(consumer.id, consumer);
    if (this.#consumers.size === 1) this.#start();
    else this.#whileBlocked?.tell([...this.#consumers.keys()]);
  }

  remove(id: number): void {
    if (!this.#consumers.delete(id)) return;
    if (this.#consumers.size === 0) this.#stop();
    else this.#whileBlocked?.tell([...this.#consumers.keys()]);
  }

  /** Inside `write`: what goes with a consumer, whether it left or died. */
  release(id: number): number {
    const returned = this.#queries.giveBack(id);
    for (const queue of this.#queries.removeConsumer(id)) dropIfLeft(this.#queries, queue);
    this.#db.ring(bell);
    return returned;
  }

  #start(): void {
    const { lease, identity } = this.#options;
    if (!isInSight(identity)) this.#keepWhileBlocked();
    const renewEveryMs = (lease * 1000) / 3;
    const sweepEveryMs = Math.min(1000, renewEveryMs);
    // Stopped while a round is under way, it must not begin another; started anew, not two at once.
    this.#shift += 1;
    const shift = this.#shift;
    const renewLater = (): void => {
      if (shift !== this.#shift) return;
      this.#renewal = setTimeout(() => void this.#renew().finally(renewLater), renewEveryMs);
    };
    const sweepLater = (): void => {
      if (shift !== this.#shift) return;
      this.#sweep = setTimeout(() => void this.#sweepDead().finally(sweepLater), sweepEveryMs);
    };
    this.#stopListening = this.#db.listen(bell, () => void this.#checkParked());
    renewLater();
    void this.#sweepDead().finally(sweepLater);
    void this.#checkParked();
  }

  #stop(): void {
    this.#shift += 1;
    this.#whileBlocked?.stop();
    this.#whileBlocked = undefined;
    this.#stopListening?.();
    clearTimeout(this.#renewal);
    clearTimeout(this.#sweep);
    clearTimeout(this.#alarm);
  }

  /** For those who cannot see this process. A thread takes memory: where all can, there is none. */
  #keepWhileBlocked(): void {
    const { lease, mayBlock, logger } = this.#options;
    if (!mayBlock) return;
    this.#whileBlocked ??= LeaseKeeper.start<SqliteLease>({
      program: program("broker/sqlite/lease-thread"),
      birth: { path: this.#db.path, consumers: [...this.#consumers.keys()] },
      lease,
      // As where it can be seen to live: for as long as it does.
      longest: Number.POSITIVE_INFINITY,
      log: logger,
    });
  }

  async #renew(): Promise<void> {
    const { identity, logger } = this.#options;
    await this.#quietly(() =>
      this.#db.write(() => {
        const now = Date.now();
        for (const { id, node } of this.#consumers.values()) {
          if (this.#queries.renew(id, now)) continue;
          this.#queries.restoreConsumer(id, node, identity, now);
          logger?.warn({ node }, "Consumer was taken for dead: what it holds may be delivered twice");
        }
      }),
    );
  }

  async #sweepDead(): Promise<void> {
    const { identity, lease, logger } = this.#options;
    const isDead = (consumer: ConsumerRow): boolean => isGone(consumer, identity, Date.now(), lease);
    await this.#quietly(async () => {
      const shift = this.#shift;
      const all = await this.#db.read(() => this.#queries.consumers());
      if (shift === this.#shift && all.some((other) => other.identity.machine !== identity.machine))
        this.#keepWhileBlocked();
      const dead = all.filter(isDead);
      if (dead.length === 0) return;
      const returned = await this.#db.write(() => {
        const still = new Set(
          this.#queries
            .consumers()
            .filter(isDead)
            .map(({ id }) => id),
        );
        return dead.filter(({ id }) => still.has(id)).map(({ id, node }) => ({ node, count: this.release(id) }));
      });
      for (const { node, count } of returned) {
        logger?.info({ node, count }, `Consumer ${node} is gone: ${count} messages go back to their queues`);
      }
    });
  }

  /** Moves what is due and sets the alarm for what comes next. */
  async #checkParked(): Promise<void> {
    if (this.#checking) return;
    this.#checking = true;
    await this.#quietly(async () => {
      let due = await this.#db.read(() => this.#queries.nextDue());
      while (due !== undefined && due <= Date.now()) {
        await this.#db.write(() => {
          if (this.#queries.unpark(Date.now(), handful) > 0) this.#db.ring(bell);
        });
        due = await this.#db.read(() => this.#queries.nextDue());
      }
      clearTimeout(this.#alarm);
      if (due === undefined || this.#consumers.size === 0) return;
      // Longer timers overflow; a minute also bounds what a clock set forward can delay.
      this.#alarm = setTimeout(() => void this.#checkParked(), Math.min(Math.max(due - Date.now(), 1), 60_000));
    });
    this.#checking = false;
  }

  /** What fails here is tried again soon; the flow of deliveries sees the same failure and reports it. */
  async #quietly(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#options.logger?.debug({ err: error }, "Upkeep of the embedded store failed for now");
    }
  }
}

/**
 * Whether a consumer's process is gone: by looking where that is possible, so that one that is
 * busy or stopped for minutes keeps what it holds; elsewhere when its lease has run out.
 */
export function isGone(consumer: ConsumerRow, here: ProcessIdentity, now: number, lease: number): boolean {
  switch (livenessOf(consumer.identity, here)) {
    case "alive":
      return false;
    case "dead":
      return true;
    case "unknown":
      return now - consumer.renewed > lease * 1000;
  }
}

/** Inside `write`: an auto-delete queue goes when its last consumer has, with what waits in it. */
export function dropIfLeft(queries: Queries, queue: string): void {
  if (!queries.isLeft(queue)) return;
  queries.dropQueue(queue);
  while (queries.emptySome(queue, handful) > 0);
}
