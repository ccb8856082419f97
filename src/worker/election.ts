import type { ReceivedEvent } from "../protocol/event.ts";

/** What an election is about: who wins it does `action`. */
export interface Candidate {
  readonly clock: number;
  /** `hostname.pid`. */
  readonly node: string;
  readonly topic: string;
  readonly action: unknown;
}

/** An election that everybody alive has answered. */
export interface Elected {
  readonly id: string;
  /** `hostname.pid` of the winner. */
  readonly winner: Candidate;
}

/** Elections remembered; those beyond were never answered by all. */
const mostOpen = 1_000;

/**
 * Keeps count of elections (protocol 11.4): each node stands with its clock, everyone alive
 * acknowledges, and the lowest clock wins; among equals the smallest name. No I/O.
 */
export class Elections {
  readonly #candidates = new Map<string, Candidate[]>();
  /** Elections this node stands in, with who has acknowledged. */
  readonly #replies = new Map<string, string[]>();

  /** This node stands. */
  open(id: string): void {
    this.#replies.set(id, []);
    trim(this.#replies);
  }

  /** `worker-elect`: somebody stands. Returns its id, to be acknowledged; null for a request that lacks what it needs. */
  stands({ id, clock, hostname, pid, topic, action }: ReceivedEvent): string | null {
    if (typeof id !== "string" || typeof topic !== "string") return null;
    const candidates = this.#candidates.get(id) ?? [];
    candidates.push({ clock, node: `${hostname}.${pid}`, topic, action });
    this.#candidates.set(id, candidates);
    trim(this.#candidates);
    return id;
  }

  /** How many stand, as far as is known here. */
  standing(id: string): number {
    return this.#candidates.get(id)?.length ?? 0;
  }

  /** `worker-elect-ack`. The outcome, once as many have acknowledged as are alive; else null. */
  acknowledged({ id, hostname }: ReceivedEvent, alive: number): Elected | null {
    const replies = typeof id === "string" ? this.#replies.get(id) : undefined;
    if (replies === undefined || typeof id !== "string") return null; // not ours
    replies.push(hostname);
    const candidates = this.#candidates.get(id) ?? [];
    if (replies.length < alive || candidates.length === 0) return null;
    this.#replies.delete(id);
    this.#candidates.delete(id);
    return { id, winner: [...candidates].sort(byRank)[0] as Candidate };
  }
}

function byRank(a: Candidate, b: Candidate): number {
  return a.clock - b.clock || (a.node < b.node ? -1 : a.node > b.node ? 1 : 0);
}

function trim(map: Map<string, unknown>): void {
  if (map.size > mostOpen) map.delete(map.keys().next().value as string);
}
