import type { ReceivedEvent } from "../protocol/event.ts";

/** What an election is about: who wins it does `action`. */
export interface Candidate {
  readonly clock: number;
  /** `hostname.pid`. */
  readonly node: string;
  readonly hostname: string;
  readonly topic: string;
  readonly action: unknown;
}

/** An election that is decided. */
export interface Elected {
  readonly id: string;
  /** `hostname.pid` of the winner. */
  readonly winner: Candidate;
}

/** Elections remembered; those beyond were never answered by all. */
const mostOpen = 1_000;

/** Times each node has acknowledged, by its name. */
type Replies = Map<string, number>;

/**
 * Keeps count of elections (protocol 11.4): each node stands with its clock, everybody acknowledges
 * each candidate, and the lowest clock wins; among equals the smallest name. No I/O.
 *
 * Celery decides as soon as there are as many acknowledgements as nodes it knows, and so, by chance,
 * before it has heard of every candidate: two nodes may then both win, or each take the other for
 * the winner. Here everybody has to have acknowledged every candidate. What a node sends arrives in
 * order, and so whoever is not known as a candidate by then had heard of those that are before it
 * stood: its clock is higher, and it loses in every count.
 */
export class Elections {
  readonly #candidates = new Map<string, Candidate[]>();
  /** Who has acknowledged, also before this node stands. */
  readonly #replies = new Map<string, Replies>();
  /** Elections this node stands in. */
  readonly #open = new Set<string>();

  /** This node stands. */
  open(id: string): void {
    this.#open.add(id);
    trim(this.#open);
  }

  /** `worker-elect`: somebody stands. Returns its id, to be acknowledged; null for a request that lacks what it needs. */
  stands({ id, clock, hostname, pid, topic, action }: ReceivedEvent): string | null {
    if (typeof id !== "string" || typeof topic !== "string") return null;
    const candidates = this.#candidates.get(id) ?? [];
    candidates.push({ clock, node: `${hostname}.${pid}`, hostname, topic, action });
    this.#candidates.set(id, candidates);
    trim(this.#candidates);
    return id;
  }

  /** How many stand, as far as is known here. */
  standing(id: string): number {
    return this.#candidates.get(id)?.length ?? 0;
  }

  /** `worker-elect-ack`: somebody has heard of a candidate. */
  acknowledged({ id, hostname }: ReceivedEvent): void {
    if (typeof id !== "string") return;
    const replies = this.#replies.get(id) ?? new Map<string, number>();
    replies.set(hostname, (replies.get(hostname) ?? 0) + 1);
    this.#replies.set(id, replies);
    trim(this.#replies);
  }

  /** The elections that all these nodes, and all candidates, have answered: each is told once. */
  settled(nodes: Iterable<string>): readonly Elected[] {
    if (this.#open.size === 0) return [];
    const known = [...nodes];
    return [...this.#open].flatMap((id) => {
      const replies = this.#replies.get(id);
      const candidates = this.#candidates.get(id) ?? [];
      const awaited = [...known, ...candidates.map(({ hostname }) => hostname)];
      const isAnswered = awaited.every((node) => (replies?.get(node) ?? 0) >= candidates.length);
      return candidates.length > 0 && isAnswered ? this.#decide(id, candidates) : [];
    });
  }

  /**
   * The outcome of an election that not everybody has answered in time, with those who have; null when
   * it is over already, or when nobody stands (this node had no connection to say so).
   */
  overdue(id: string): (Elected & { readonly heard: ReadonlySet<string> }) | null {
    if (!this.#open.has(id)) return null;
    const heard = new Set(this.#replies.get(id)?.keys());
    const [elected] = this.#decide(id, this.#candidates.get(id) ?? []);
    return elected === undefined ? null : { ...elected, heard };
  }

  #decide(id: string, candidates: readonly Candidate[]): readonly Elected[] {
    this.#open.delete(id);
    this.#replies.delete(id);
    this.#candidates.delete(id);
    const [winner] = [...candidates].sort(byRank);
    return winner === undefined ? [] : [{ id, winner }];
  }
}

function byRank(a: Candidate, b: Candidate): number {
  return a.clock - b.clock || (a.node < b.node ? -1 : a.node > b.node ? 1 : 0);
}

function trim(some: Map<string, unknown> | Set<string>): void {
  if (some.size > mostOpen) some.delete(some.keys().next().value as string);
}
