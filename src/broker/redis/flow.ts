import { randomUUID } from "node:crypto";
import type { OperationalError } from "../../errors.ts";
import type { BrokerLog } from "../options.ts";
import type { RedisConnection } from "./connection.ts";
import { leaseSeconds } from "./lease.ts";
import type { Ledger } from "./ledger.ts";
import { RedisListener } from "./listener.ts";
import { positive } from "./options.ts";
import { restoreVisible, returnAll, returnMessages } from "./returning.ts";
import { renewScript, tendScript, wakeScript } from "./scripts.ts";
import type { Flow, RedisSubscription } from "./subscription.ts";

/** Seconds between two looks at everything: leases, what is due, what may have gone unannounced. */
const tickSeconds = 1;
/** Seconds between two looks where Redis cannot announce what comes. */
const pollSeconds = 0.05;
/** Seconds between two looks for messages that were handed to us and never arrived. */
const unheardSeconds = 5;
/** Seconds from its beginning in which a flow looks at every tick: the answers were lost with the one before it. */
const unheardAtFirst = 10;
/** Held messages made young again in one step. */
const renewAtOnce = 5_000;
/** Parked messages woken in one step. */
const wakeAtOnce = 500;

/**
 * What subscriptions live on: the connection that takes and settles, the one that listens, and
 * the upkeep of both. Waiting costs nothing: Redis announces a change of a list that was found
 * empty. Once a second everything is looked at regardless; that look must be answered, so it is
 * also the proof that messages would come.
 *
 * It keeps the lease of what this process holds, takes over what dead consumers held, wakes what
 * was parked, and does kombu's restore beside it.
 */
export class RedisFlow implements Flow {
  readonly connection: RedisConnection;
  readonly listener: RedisListener;
  readonly #ledger: Ledger;
  readonly #subscriptions = new Set<RedisSubscription>();
  readonly #visibilityTimeout: number;
  readonly #restoreInterval: number;
  readonly #restoreLimit: number | undefined;
  readonly #mutexSeconds: number;
  readonly #log: BrokerLog | undefined;
  #tick: NodeJS.Timeout | undefined;
  #poll: NodeJS.Timeout | undefined;
  #alarm: NodeJS.Timeout | undefined;
  #alarmMs = Number.POSITIVE_INFINITY;
  #tending = false;
  #ticks = 0;
  #hasLease = false;
  #renewedMs = performance.now();
  /** Messages Redis says we hold and we know nothing of, when that was last looked at. */
  #unheard: ReadonlySet<string> = new Set();
  readonly #beganMs = performance.now();
  #listenedMs = performance.now();
  #restoredMs = Number.NEGATIVE_INFINITY;
  #open = true;

  private constructor(
    connection: RedisConnection,
    listening: RedisConnection,
    ledger: Ledger,
    options: Readonly<Record<string, unknown>>,
    log: BrokerLog | undefined,
    onSilence: () => void,
  ) {
    this.connection = connection;
    this.#ledger = ledger;
    this.#log = log;
    this.#visibilityTimeout = positive(options.visibility_timeout) ?? 3600;
    this.#restoreInterval = positive(options.unacked_restore_interval) ?? 10;
    this.#restoreLimit = positive(options.unacked_restore_limit);
    this.#mutexSeconds = positive(options.unacked_mutex_expire) ?? 300;
    this.listener = new RedisListener(listening, (keys) => this.#changed(keys));
    for (const part of [connection, listening]) {
      part.onLost((error) => {
        if (part.wentSilent) onSilence();
        this.lose(error);
      });
    }
  }

  /** Opens both connections; rejects with `BrokerConnectionError`, leaving none open. */
  static async open(parts: {
    readonly open: () => Promise<RedisConnection>;
    readonly ledger: Ledger;
    readonly transportOptions: Readonly<Record<string, unknown>>;
    readonly log: BrokerLog | undefined;
    /** One of the connections was given up because the server did not answer. */
    readonly onSilence: () => void;
  }): Promise<RedisFlow> {
    const opened = await Promise.allSettled([parts.open(), parts.open()]);
    const failed = opened.find((one) => one.status === "rejected");
    if (failed !== undefined) {
      for (const one of opened) if (one.status === "fulfilled") one.value.close();
      throw failed.reason;
    }
    const [connection, listening] = opened.map((one) => (one as PromiseFulfilledResult<RedisConnection>).value) as [
      RedisConnection,
      RedisConnection,
    ];
    const flow = new RedisFlow(connection, listening, parts.ledger, parts.transportOptions, parts.log, parts.onSilence);
    try {
      if (!(await flow.listener.track(connection))) flow.#startPolling();
      flow.#startTicking();
      return flow;
    } catch (error) {
      flow.close();
      throw error;
    }
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Begins the lease, unless it lives; what was held under one that died is lost. Before the first take. */
  async begin(): Promise<void> {
    const isFirst = !this.#hasLease;
    this.#hasLease = true;
    await this.#renewLease({ begin: true });
    if (isFirst) {
      await this.#returnUntold();
      this.#warnOfEviction().catch(() => undefined); // a server that does not say
    }
    this.#ledger.flush();
    this.#upkeep();
  }

  /** A server that removes keys to make room may remove messages (inventory G134). */
  async #warnOfEviction(): Promise<void> {
    const memory = await this.connection.call<string>("info", "memory");
    const most = Number(/^maxmemory:(\d+)/m.exec(memory)?.[1]);
    const policy = /^maxmemory_policy:(allkeys\S*)/m.exec(memory)?.[1];
    if (most > 0 && policy !== undefined)
      this.#log?.warn(
        { maxmemory: most, policy },
        `Redis removes keys, messages among them, when its memory is full (maxmemory-policy ${policy}): set it to noeviction`,
      );
  }

  /** Under a new id, after the old lease was lost. Sent before anything that needs it. */
  beginAnew(): void {
    if (!this.#open || !this.#hasLease) return;
    this.#log?.warn({ consumer: this.#ledger.consumerId }, "the lease was lost: what was held is delivered again");
    this.#renewLease({ begin: true }).catch(() => undefined);
  }

  add(subscription: RedisSubscription): void {
    this.#subscriptions.add(subscription);
  }

  remove(subscription: RedisSubscription): void {
    this.#subscriptions.delete(subscription);
  }

  /** Every subscription takes what it has room for. */
  turn(): void {
    for (const subscription of this.#subscriptions) subscription.turn();
  }

  wake(): void {
    for (const subscription of this.#subscriptions) subscription.lookAgain();
    this.#ledger.flush();
  }

  /** A message was parked, or woken: when the next is due, both by Redis's clock. Not a number: none is. */
  alarm(now: number, due: number): void {
    if (!this.#open || !(due > 0)) return;
    // Far ones are told again by the next tick, which also bears with clocks that are set.
    const inMs = Math.max(0, Math.ceil((due - now) * 1000));
    const atMs = performance.now() + inMs;
    if (inMs > 5 * tickSeconds * 1000 || atMs >= this.#alarmMs) return;
    clearTimeout(this.#alarm);
    this.#alarmMs = atMs;
    this.#alarm = setTimeout(() => {
      this.#alarmMs = Number.POSITIVE_INFINITY;
      this.#wakeParked().catch(() => undefined);
    }, inMs);
  }

  /** The connections are gone: tells every subscription. */
  lose(error: OperationalError): void {
    if (!this.#open) return;
    this.#stop();
    for (const part of [this.connection, this.listener.connection]) part.drop();
    for (const subscription of [...this.#subscriptions]) subscription.lose(error);
  }

  /** Gives the lease back, so that nobody waits for it to end. */
  async end(): Promise<void> {
    if (!this.#open || !this.#hasLease) return;
    const { keys, consumerId, heldKey } = this.#ledger;
    const left = await this.connection.call<number>("zcard", heldKey);
    if (left === 0) await this.connection.call("zrem", keys.consumers, consumerId);
    else await this.connection.call("zadd", keys.consumers, 0, consumerId);
  }

  close(): void {
    this.#stop();
    this.connection.close();
    this.listener.connection.close();
  }

  #stop(): void {
    this.#open = false;
    clearTimeout(this.#tick);
    clearTimeout(this.#poll);
    clearTimeout(this.#alarm);
  }

  #changed(keys: readonly string[] | null): void {
    let concerned = false;
    for (const subscription of this.#subscriptions) {
      if (keys !== null && !keys.some((key) => subscription.watches(key))) continue;
      subscription.lookAgain();
      concerned = true;
    }
    if (concerned) this.#ledger.flush();
  }

  #startTicking(): void {
    this.#tick = setTimeout(() => {
      this.#ticks += 1;
      this.wake();
      if (this.#hasLease) this.#upkeep();
      if (this.#ticks % 5 === 0) this.listener.ping().catch(() => undefined);
      if (this.#open) this.#startTicking();
    }, tickSeconds * 1000);
  }

  #startPolling(): void {
    this.#poll = setTimeout(() => {
      this.wake();
      if (this.#open) this.#startPolling();
    }, pollSeconds * 1000);
  }

  /** Failures are of no consequence here: the next tick is soon, and a dead connection says so itself. */
  #upkeep(): void {
    if (this.#tending) return;
    this.#tending = true;
    this.#tend()
      .catch((error: unknown) => {
        if (this.#open) this.#log?.warn({ err: error }, "the upkeep of the broker failed and is tried again");
      })
      .finally(() => {
        this.#tending = false;
      });
  }

  async #tend(): Promise<void> {
    const { now, orphan } = await this.#renewLease({ begin: false });
    if (orphan !== "") await this.#inherit(orphan);
    await this.#renewHeld();
    await this.#returnUnheard();
    await this.#restore(now);
  }

  /** Says what time it is for Redis, and whose held messages were taken over: empty for nobody's. */
  async #renewLease({ begin }: { readonly begin: boolean }): Promise<{ now: number; orphan: string }> {
    const { keys, consumerId } = this.#ledger;
    const [good, now, due, orphan] = await this.connection.run<[0 | 1, string, string, string]>(
      tendScript,
      [keys.consumers, keys.parked, keys.tended],
      [consumerId, leaseSeconds, begin ? "1" : "0", begin ? "" : randomUUID(), keys.heldPrefix],
    );
    // A new consumer has no lease yet and nothing it could have lost.
    if (good === 0 && (!begin || this.#ledger.held.size > 0)) this.#ledger.lapse(consumerId);
    this.alarm(Number(now), Number(due));
    return { now: Number(now), orphan };
  }

  /** What a dead consumer held goes back to the head of its queues, the oldest first in line. */
  async #inherit(orphan: string): Promise<void> {
    const { keys } = this.#ledger;
    const returned = await returnAll({ connection: this.connection, keys, held: keys.heldPrefix + orphan });
    await this.connection.call("zrem", keys.consumers, orphan);
    if (returned === 0) return;
    this.#log?.warn({ messages: returned }, "messages of a dead consumer were put back into their queues");
    this.wake();
  }

  /**
   * Before the first take over this connection: what Redis holds for us and nobody here knows of was
   * taken over an earlier one, whose answer can come no more. It goes back at once.
   */
  async #returnUntold(): Promise<void> {
    const { heldKey, held } = this.#ledger;
    if ((await this.connection.call<number>("zcard", heldKey)) <= held.size) return;
    const tags = await this.connection.call<string[]>("zrevrange", heldKey, 0, -1);
    const known = this.#ledger.known();
    await this.#returnLost(tags.filter((tag) => !known.has(tag)));
  }

  /**
   * Redis took messages for us and its answer was lost with the connection: they are ours, nobody
   * works on them, and our own lease keeps them from everybody else. What is unknown here at one
   * look and still at the next goes back to the head of its queue: an answer to an earlier take
   * would have come before the answer to the look, for both come over one connection.
   */
  async #returnUnheard(): Promise<void> {
    const nowMs = performance.now();
    const isYoung = nowMs - this.#beganMs < unheardAtFirst * 1000;
    if (!isYoung && nowMs - this.#listenedMs < unheardSeconds * 1000) return;
    this.#listenedMs = nowMs;
    const { heldKey } = this.#ledger;
    const known = this.#ledger.known();
    const seen = this.#unheard;
    this.#unheard = new Set();
    if ((await this.connection.call<number>("zcard", heldKey)) <= known.size) return;
    const tags = await this.connection.call<string[]>("zrevrange", heldKey, 0, -1);
    this.#unheard = new Set(tags.filter((tag) => !known.has(tag)));
    const held = this.#ledger.heldTags();
    const still = [...this.#unheard].filter((tag) => seen.has(tag) && !held.has(tag));
    await this.#returnLost(still);
  }

  async #returnLost(tags: readonly string[]): Promise<void> {
    if (tags.length === 0) return;
    const { keys, heldKey } = this.#ledger;
    const parts = { connection: this.connection, keys, held: heldKey, mine: true };
    const returned = await returnMessages(parts, tags, "RPUSH");
    this.#log?.warn(
      { messages: returned },
      "messages that were lost on their way here were put back into their queues",
    );
    this.wake();
  }

  /** What is held stays young: neither kombu's restore nor ours takes it for forgotten. */
  async #renewHeld(): Promise<void> {
    const everyMs = Math.min(30, Math.max(1, this.#visibilityTimeout / 4)) * 1000;
    if (performance.now() - this.#renewedMs < everyMs) return;
    this.#renewedMs = performance.now();
    const { keys, heldKey } = this.#ledger;
    for (let first = 0; ; first += renewAtOnce) {
      const renewed = await this.connection.run<number>(
        renewScript,
        [keys.unackedIndex, heldKey],
        [first, first + renewAtOnce - 1],
      );
      if (renewed < renewAtOnce) return;
    }
  }

  async #restore(now: number): Promise<void> {
    if (performance.now() - this.#restoredMs < this.#restoreInterval * 1000) return;
    this.#restoredMs = performance.now();
    const { keys } = this.#ledger;
    const restored = await restoreVisible(
      { connection: this.connection, keys, held: `${keys.heldPrefix}nobody` },
      { before: now - this.#visibilityTimeout, limit: this.#restoreLimit, lockSeconds: this.#mutexSeconds },
    );
    if (restored === 0) return;
    this.#log?.warn({ messages: restored }, "messages unacknowledged beyond the visibility timeout were put back");
    this.wake();
  }

  async #wakeParked(): Promise<void> {
    const { keys } = this.#ledger;
    for (;;) {
      const [woken, now, due] = await this.connection.run<[number, string, string]>(
        wakeScript,
        [keys.unacked, keys.unackedIndex, keys.parked],
        [wakeAtOnce],
      );
      if (woken > 0) this.wake();
      if (woken === wakeAtOnce) continue;
      this.alarm(Number(now), Number(due));
      return;
    }
  }
}
