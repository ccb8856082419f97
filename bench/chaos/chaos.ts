import { setTimeout as sleep } from "node:timers/promises";
import { Tq } from "../../src/app/app.ts";
import { temporaryFolder } from "../../test/helpers/tmp.ts";
import { Crew } from "./crew.ts";
import { createDice, type Dice } from "./dice.ts";
import { type Aftermath, type Fault, type Profile, profiles } from "./faults.ts";
import { Ledger } from "./ledger.ts";
import { type Kind, openSite, type Site } from "./site.ts";

export interface ChaosOptions {
  readonly kind: Kind;
  /** A broker of the user's; one of our own, which may be killed too, when left out. */
  readonly url?: string;
  readonly tasks: number;
  readonly faults: number;
  readonly profile?: Profile;
  /** Chooses the faults and how long they last. */
  readonly seed: number;
  /** Default 2. */
  readonly workers?: number;
  /** Children of each worker; default 2. */
  readonly concurrency?: number;
  /** Ends the run before its time: what it has started is stopped and removed. */
  readonly signal?: AbortSignal;
  /** Told of each fault as it is over. */
  readonly onFault?: (fault: FaultReport, count: number) => void;
}

export interface FaultReport {
  readonly name: string;
  /**
   * Seconds from the moment everybody could work again until everybody hit by it had run a task
   * that was sent after it; infinity when they never did.
   */
  readonly recovery: number;
  /** Where somebody never did: the last words of the workers. */
  readonly log?: string;
}

/** What came of it. */
export interface Verdict {
  /** Tasks whose sending the broker has confirmed. */
  readonly sent: number;
  /** Of those, how many have run. */
  readonly ran: number;
  readonly twice: number;
  /** Confirmed, and never run. */
  readonly lost: readonly number[];
  /** In the dead-letter store. */
  readonly dead: number;
  readonly faults: readonly FaultReport[];
  readonly p50: number;
  readonly p99: number;
  /** Seconds the slowest task waited from its sending to the end of its first run. */
  readonly longestWait: number;
  readonly seconds: number;
  /** The last words of the workers; for when something is wrong. */
  readonly log: string;
}

/** Tasks on their way at most. */
const mostOutstanding = 400;
const batch = 20;
/** So many keep everybody busy who is waited for. */
const enough = 60;
/** Seconds a fault may take to be got over, and the last tasks to run. */
const patience = 60;

/**
 * The ordeal: tasks with late acknowledgement are sent without pause while things are killed,
 * frozen and cut off, one after the other. Every task writes a line when it has run. In the end
 * each task whose sending was confirmed must have a line: more than one is allowed, none is not.
 */
export async function runChaos(options: ChaosOptions): Promise<Verdict> {
  const began = performance.now();
  await using site = await openSite(options.kind, options.url);
  await using folder = await temporaryFolder("tq-chaos-");
  using ledger = new Ledger(folder.file("ledger"));
  const app = new Tq("client", { broker: site.url, backend: "disabled://", taskDefaultQueue: site.queue });
  const crew = new Crew({
    size: options.workers ?? 2,
    concurrency: options.concurrency ?? 2,
    env: {
      TQ_BROKER_URL: site.workerUrl,
      CHAOS_QUEUE: site.queue,
      CHAOS_LEDGER: folder.file("ledger"),
    },
  });
  const load = new Load(app, ledger, options.tasks);
  const reports: FaultReport[] = [];
  try {
    await crew.start();
    load.start();
    const dice = createDice(options.seed);
    const choose = chooser(site, options.profile ?? "all", dice);
    for (let count = 1; count <= options.faults; count += 1) {
      options.signal?.throwIfAborted();
      await load.reach(count / (options.faults + 1));
      const fault = choose();
      load.hurry(true);
      const aftermath = await fault.strike({ site, crew, dice });
      const recovery = await recovered(ledger, aftermath, load.next);
      const report = { name: fault.name, recovery, ...(Number.isFinite(recovery) ? {} : { log: crew.log }) };
      load.hurry(false);
      reports.push(report);
      options.onFault?.(report, count);
    }
    await load.finish();
    return await judge();
  } finally {
    load.stop();
    await crew[Symbol.asyncDispose]();
    await app.close();
  }

  async function judge(): Promise<Verdict> {
    const broker = await app.broker();
    const dead = (await broker.deadLetters.list({ limit: 1_000 })).filter(({ queue }) => queue === site.queue).length;
    const times = reports.map(({ recovery }) => recovery).sort((a, b) => a - b);
    const twice = [...ledger.times.values()].filter((count) => count > 1).length;
    const lost = load.missing();
    const verdict: Verdict = {
      sent: load.confirmed.size,
      ran: load.confirmed.size - lost.length,
      twice,
      lost,
      dead,
      faults: reports,
      p50: quantile(times, 0.5),
      p99: quantile(times, 0.99),
      longestWait: load.longestWait,
      seconds: (performance.now() - began) / 1000,
      log: crew.log,
    };
    // Nothing of a user's broker stays behind.
    if (options.url !== undefined) {
      for (const queue of app.topology.consumed.values()) await broker.delete(queue).catch(() => undefined);
    }
    return verdict;
  }
}

/** Sends tasks, as many as there may be on their way, and keeps the books. */
class Load {
  readonly #app: Tq;
  readonly #ledger: Ledger;
  readonly #goal: number;
  readonly #stop = new AbortController();
  /** When each task was confirmed: milliseconds since 1970. */
  readonly confirmed = new Map<number, number>();
  readonly #unwatch: () => void;
  #working: Promise<void> | undefined;
  #next = 0;
  #done = 0;
  #share = 0;
  #hurried = false;
  longestWait = 0;

  /** Number of the task that is sent next. */
  get next(): number {
    return this.#next;
  }

  constructor(app: Tq, ledger: Ledger, goal: number) {
    this.#app = app;
    this.#ledger = ledger;
    this.#goal = goal;
    this.#unwatch = ledger.watch(({ id, at }) => {
      if (ledger.times.get(id) !== 1) return;
      this.#done += 1;
      this.longestWait = Math.max(this.longestWait, (at - (this.confirmed.get(id) ?? at)) / 1000);
    });
  }

  start(): void {
    this.#working = this.#work();
  }

  /** Goes on sending whatever the share: somebody is waited for, and needs something to do. */
  hurry(hurried: boolean): void {
    this.#hurried = hurried;
  }

  /** Resolves when this share of the tasks has run, or as much as is to be had. */
  async reach(share: number): Promise<void> {
    this.#share = share;
    const deadline = performance.now() + patience * 1000;
    while (this.#done < share * this.#goal && performance.now() < deadline) await this.#look();
  }

  /** Sends the rest, and waits for all to run: as long as there is progress, and a while longer. */
  async finish(): Promise<void> {
    this.#share = 1;
    this.#hurried = false;
    while (this.confirmed.size < this.#goal) await this.#look();
    this.#stop.abort();
    await this.#working;
    let deadline = performance.now() + patience * 1000;
    for (let before = 0; this.missing().length > 0 && performance.now() < deadline; ) {
      await this.#look();
      if (this.#done > before) deadline = performance.now() + patience * 1000;
      before = this.#done;
    }
  }

  missing(): number[] {
    return [...this.confirmed.keys()].filter((id) => !this.#ledger.times.has(id));
  }

  stop(): void {
    this.#stop.abort();
    this.#unwatch();
  }

  async #look(): Promise<void> {
    await sleep(20);
    this.#ledger.read();
  }

  async #work(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const due = this.#next < this.#share * this.#goal;
      const outstanding = this.#next - this.#done;
      if (outstanding > mostOutstanding || !(due || (this.#hurried && outstanding < enough))) {
        await this.#look();
        continue;
      }
      const ids = Array.from({ length: batch }, () => this.#next++);
      const sent = await Promise.allSettled(ids.map((id) => this.#send(id)));
      // What was not confirmed does not count, and is not waited for.
      const failed = sent.filter(({ status }) => status === "rejected").length;
      this.#done += failed;
      if (failed > 0) await sleep(100);
    }
  }

  async #send(id: number): Promise<void> {
    await this.#app.sendTask("chaos.work", [id, Math.random() * 4]);
    this.confirmed.set(id, Date.now());
  }
}

/** Seconds from `healed` to the last of the runs awaited, each of a task that was sent after the fault: `from` is its number. */
async function recovered(ledger: Ledger, { healed, signs }: Aftermath, from: number): Promise<number> {
  const open = new Set(signs);
  let last = healed;
  const unwatch = ledger.watch((run) => {
    if (run.at < healed || run.id < from) return;
    for (const sign of open) {
      if (!sign(run)) continue;
      open.delete(sign);
      last = Math.max(last, run.at);
    }
  });
  try {
    const deadline = performance.now() + patience * 1000;
    while (open.size > 0 && performance.now() < deadline) {
      await sleep(20);
      ledger.read();
    }
    return open.size > 0 ? Number.POSITIVE_INFINITY : (last - healed) / 1000;
  } finally {
    unwatch();
  }
}

/** Deals faults so that each comes up about as often as its weight says, in an order of the dice. */
function chooser(site: Site, profile: Profile, dice: Dice): () => Fault {
  const all: readonly Fault[] = profiles[profile];
  const deck = all.filter(({ fits }) => fits(site)).flatMap((fault) => Array<Fault>(fault.weight ?? 1).fill(fault));
  let dealt: Fault[] = [];
  return () => {
    if (dealt.length === 0) dealt = [...deck];
    const at = Math.floor(dice.next() * dealt.length);
    return dealt.splice(at, 1)[0] as Fault;
  };
}

export function quantile(sorted: readonly number[], share: number): number {
  if (sorted.length === 0) return 0;
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] as number;
}
