import { type Located, type LocateOptions, mostSearched, type Whereabouts } from "../whereabouts.ts";
import type { RedisConnection } from "./connection.ts";
import { type GraveKeys, queueLists, type RedisKeys } from "./keys.ts";
import { leaseSeconds } from "./lease.ts";
import { takeApart } from "./returning.ts";
import { searchHashScript, searchListScript, whoHoldsScript } from "./scripts.ts";

/** Looked at in one step at most; large messages make it fewer. */
const atOnce = 500;
/** Tags asked about in one step. */
const askedAtOnce = 200;

/**
 * Where the messages of these tasks are. A message goes from its list to `unacked` and, given back, the other
 * way; so both are looked through twice before it counts as nowhere.
 *
 * What a tq consumer holds is in a set under its lease. What is in no such set a Celery worker has, of which
 * Redis knows no sign of life: that comes back by kombu's visibility timeout (seconds).
 */
export async function locateIn(
  connection: RedisConnection,
  keys: RedisKeys,
  { ids, queues }: LocateOptions,
  visibilityTimeout: number,
): Promise<Located> {
  const places = new Map<string, Whereabouts>();
  const unsearched = new Set<string>();
  const left = (): Set<string> => new Set(ids.filter((id) => !places.has(id)));
  for (let round = 0; round < 2 && places.size < ids.length; round += 1) {
    for (const queue of new Set(queues)) {
      const { found, all } = await searchLists(connection, keys, queue, left());
      for (const id of found) places.set(id, { kind: "waiting", queue });
      if (!all) unsearched.add(queue);
    }
    const tags = await searchHash(connection, { hash: keys.unacked, index: keys.unackedIndex }, left());
    for (const [id, place] of await heldBy(connection, keys, tags, visibilityTimeout)) places.set(id, place);
  }
  for (const graves of [keys.dead, keys.shelf]) {
    for (const [id, place] of await among(connection, graves, left())) places.set(id, place);
  }
  return { kind: "located", places, unsearched: [...unsearched] };
}

/** Newest first: what is taken or comes meanwhile moves nothing past the place that is looked at. */
async function searchLists(
  connection: RedisConnection,
  keys: RedisKeys,
  queue: string,
  wanted: ReadonlySet<string>,
): Promise<{ readonly found: ReadonlySet<string>; readonly all: boolean }> {
  const found = new Set<string>();
  let searched = 0;
  for (const list of queueLists(keys, queue)) {
    for (let from = 0; found.size < wanted.size; ) {
      if (searched >= mostSearched) return { found, all: false };
      const [looked, ...ids] = await connection.run<[number, ...string[]]>(searchListScript, [list], [from, atOnce]);
      for (const id of ids) if (wanted.has(id)) found.add(id);
      if (looked === 0) break;
      from += looked;
      searched += looked;
    }
  }
  return { found, all: true };
}

/** Fields of a hash with a message of one of these tasks; `index` has all of its fields. */
async function searchHash(
  connection: RedisConnection,
  { hash, index }: { readonly hash: string; readonly index: string },
  wanted: ReadonlySet<string>,
): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for (let cursor = "0"; wanted.size > 0; ) {
    const [next, scanned] = await connection.call<[string, string[]]>("zscan", index, cursor, "COUNT", atOnce);
    const fields = scanned.filter((_, at) => at % 2 === 0);
    for (let first = 0; first < fields.length; ) {
      const some = fields.slice(first, first + atOnce);
      const [looked, ...pairs] = await connection.run<[number, ...string[]]>(searchHashScript, [hash], some);
      for (let at = 0; at < pairs.length; at += 2) {
        const [field, id] = pairs.slice(at, at + 2) as [string, string];
        if (wanted.has(id)) found.set(id, field);
      }
      first += looked;
    }
    if (next === "0") break;
    cursor = next;
  }
  return found;
}

async function heldBy(
  connection: RedisConnection,
  keys: RedisKeys,
  tags: ReadonlyMap<string, string>,
  visibilityTimeout: number,
): Promise<ReadonlyMap<string, Whereabouts>> {
  const places = new Map<string, Whereabouts>();
  const all = [...tags];
  for (let first = 0; first < all.length; first += askedAtOnce) {
    const some = all.slice(first, first + askedAtOnce);
    const [now, since, last, leases, ...answer] = await connection.run<[string, string, string, string[], ...string[]]>(
      whoHoldsScript,
      [keys.unacked, keys.unackedIndex, keys.parked, keys.consumers, keys.tended],
      [keys.heldPrefix, ...some.map(([, tag]) => tag)],
    );
    const ends = new Map<string, number>();
    for (let at = 0; at < leases.length; at += 2) ends.set(leases[at] as string, Number(leases[at + 1]));
    const fleet = { now: Number(now), since: Number(since), last: Number(last), ends, visibilityTimeout };
    for (const [at, [id]] of some.entries()) {
      const [age, holder, parked, tail] = answer.slice(4 * at, 4 * at + 4) as [string, string, string, string];
      if (age === "") continue; // settled, or put back, since it was found
      const queue = takeApart(Buffer.from(tail), false).routingKey;
      places.set(id, placeOf({ age: Number(age), holder, parked: parked === "1", queue }, fleet));
    }
  }
  return places;
}

/** One entry of `unacked`; times are seconds by Redis's clock. */
interface Entry {
  readonly age: number;
  /** Empty: no consumer of tq. */
  readonly holder: string;
  readonly parked: boolean;
  readonly queue: string;
}

interface Fleet {
  readonly now: number;
  readonly since: number;
  readonly last: number;
  /** When each consumer's lease ends. */
  readonly ends: ReadonlyMap<string, number>;
  readonly visibilityTimeout: number;
}

function placeOf({ age, holder, parked, queue }: Entry, fleet: Fleet): Whereabouts {
  const { now, since, last, ends, visibilityTimeout } = fleet;
  const date = (seconds: number): Date => new Date(seconds * 1000);
  if (parked) return { kind: "parked", queue, due: date(age) };
  const end = ends.get(holder);
  const until = end ?? age + visibilityTimeout;
  if (until > now) return { kind: "held", queue, node: null, until: date(until) };
  const tended = [...ends.values()].some((one) => one > now);
  if (!tended) return { kind: "orphaned", queue, node: null, due: null };
  // Nobody is taken for dead before somebody has looked after all for as long as a lease lasts (`tendScript`).
  const begun = now - last > leaseSeconds / 2 ? now : since;
  return {
    kind: "orphaned",
    queue,
    node: null,
    due: date(end === undefined ? until : Math.max(now, begun + leaseSeconds)),
  };
}

async function among(
  connection: RedisConnection,
  { dead, about, index }: GraveKeys,
  wanted: ReadonlySet<string>,
): Promise<ReadonlyMap<string, Whereabouts>> {
  const places = new Map<string, Whereabouts>();
  for (const [id, letter] of await searchHash(connection, { hash: dead, index }, wanted)) {
    const told = await connection.call<string | null>("hget", about, letter);
    const queue = told === null ? "" : String((JSON.parse(told) as { readonly queue?: unknown }).queue ?? "");
    places.set(id, { kind: "dead", queue, letter });
  }
  return places;
}
