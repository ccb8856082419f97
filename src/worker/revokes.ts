import { type RevokeRecord, type StampedHeaders, stampsOf } from "../control/revoke-notes.ts";
import { ImproperlyConfigured } from "../errors.ts";
import type { TaskHeaders } from "../protocol/task-message.ts";
import { LimitedSet } from "../util/limited-set.ts";

/** How much is remembered, for how many seconds. */
export interface RevokeLimits {
  readonly maxSize: number;
  readonly expires: number;
}

/** Celery's (`worker/state.py`, inventory G68): 50,000 revokes, for three hours. */
export const defaultRevokeLimits: RevokeLimits = { maxSize: 50_000, expires: 10_800 };

/** By what a task is revoked. */
export type RevokedBy =
  | { readonly kind: "id" }
  | { readonly kind: "header"; readonly header: string; readonly value: unknown };

/**
 * Remembers which tasks must not run: by id, and by the stamps they carry. Bounded in number and
 * age, so that revoking for years costs no more than revoking for hours.
 */
export class Revokes {
  /** For how many seconds a revoke is remembered. */
  readonly expires: number;
  readonly #ids: LimitedSet;
  /** Members are `[header, value]` as JSON. */
  readonly #stamps: LimitedSet;
  readonly #now: () => number;
  readonly #listeners = new Set<(added: RevokeRecord) => void>();

  /** `now` is a clock in seconds since 1970: what is remembered outlives the process. */
  constructor(limits: RevokeLimits = defaultRevokeLimits, now: () => number = () => Date.now() / 1000) {
    this.expires = limits.expires;
    this.#now = now;
    this.#ids = new LimitedSet({ ...limits, now });
    this.#stamps = new LimitedSet({ ...limits, now });
  }

  /** Marks tasks as revoked, whether or not anybody has heard of them. */
  revoke(ids: Iterable<string>): void {
    const at = this.#now();
    this.merge({ ids: [...ids].map((id) => [id, at] as const), stamps: [] });
  }

  /** Marks whatever carries one of these stamps. */
  revokeByStampedHeaders(headers: StampedHeaders): void {
    const at = this.#now();
    const stamps = stampsOf(headers).map(([header, value]) => [header, value, at] as const);
    this.merge({ ids: [], stamps });
  }

  /**
   * Takes over what others remember. A time that is none of our calendar, as a Python worker's
   * monotonic reading, counts as now (protocol 11.2).
   */
  merge(record: RevokeRecord): void {
    const now = this.#now();
    const added: RevokeRecord = {
      ids: record.ids
        .map(([id, at]) => [id, plausible(at, now)] as const)
        .filter(([id, at]) => isNews(this.#ids, id, at)),
      stamps: record.stamps
        .map(([header, value, at]) => [header, value, plausible(at, now)] as const)
        .filter(([header, value, at]) => isNews(this.#stamps, keyOf(header, value), at)),
    };
    if (added.ids.length === 0 && added.stamps.length === 0) return;
    this.#ids.merge(added.ids);
    this.#stamps.merge(added.stamps.map(([header, value, at]) => [keyOf(header, value), at] as const));
    for (const listener of this.#listeners) listener(added);
  }

  /** Why this task must not run; null when it may. */
  find({ id, stamped_headers: names, stamps }: TaskHeaders): RevokedBy | null {
    if (this.#ids.has(id)) return { kind: "id" };
    if (names === null || this.#stamps.size === 0) return null;
    for (const header of names) {
      for (const value of [stamps[header]].flat()) {
        if (this.#stamps.has(keyOf(header, value))) return { kind: "header", header, value };
      }
    }
    return null;
  }

  /** Ids, oldest first: what `inspect revoked` shows. */
  ids(): string[] {
    return [...this.#ids];
  }

  /** All there is, for the state file and for other workers at their start. */
  record(): RevokeRecord {
    return {
      ids: [...this.#ids.entries()],
      stamps: [...this.#stamps.entries()].map(([key, at]) => [...(JSON.parse(key) as [string, unknown]), at] as const),
    };
  }

  /** Calls the listener with what is new, whenever something is. Returns the function that ends it. */
  onAdded(listener: (added: RevokeRecord) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/**
 * The limits of Celery's environment variables, `CELERY_WORKER_REVOKES_MAX` and
 * `CELERY_WORKER_REVOKE_EXPIRES`, or the same with TQ for CELERY, which are stronger. Throws
 * `ImproperlyConfigured` for one that is no number.
 */
export function revokeLimits(env: NodeJS.ProcessEnv): RevokeLimits {
  return {
    maxSize: numberOf(env, "WORKER_REVOKES_MAX", defaultRevokeLimits.maxSize),
    expires: numberOf(env, "WORKER_REVOKE_EXPIRES", defaultRevokeLimits.expires),
  };
}

/** A number out of `TQ_<name>` or `CELERY_<name>`. */
export function numberOf(env: NodeJS.ProcessEnv, name: string, fallback: number): number {
  for (const variable of [`TQ_${name}`, `CELERY_${name}`]) {
    const text = env[variable];
    if (text === undefined || text === "") continue;
    const number = Number(text);
    if (Number.isFinite(number) && number >= 0) return number;
    throw new ImproperlyConfigured(`${variable} must be a number of at least 0, got: ${text}`);
  }
  return fallback;
}

const keyOf = (header: string, value: unknown): string => JSON.stringify([header, value]);

const isNews = (set: LimitedSet, member: string, at: number): boolean => {
  const known = set.addedAt(member);
  return known === undefined || known < at;
};

/** Seconds of a monotonic clock are few: it would have to run for thirty years to look like a date. */
const plausible = (at: unknown, now: number): number =>
  typeof at === "number" && at > 1_000_000_000 && at <= now ? at : now;
