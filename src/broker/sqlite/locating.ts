import type { ProcessIdentity } from "../../system/process-identity.ts";
import { livenessOf } from "../../system/process-identity.ts";
import type { Sqlite } from "../../system/sqlite.ts";
import type { LocateOptions, Whereabouts } from "../whereabouts.ts";
import { readHead } from "./head.ts";
import { isGone } from "./keeper.ts";
import type { ConsumerRow, PlaceRow, Queries } from "./queries.ts";

/** Messages looked at in one step: a few milliseconds' worth. */
const handful = 2000;
/** Milliseconds between two looks for the dead (`Keeper`). */
const sweepMs = 1000;

/** Where the messages of these tasks are. What moves meanwhile moves to the end, and is seen there. */
export async function locateIn(
  db: Sqlite,
  queries: Queries,
  { ids, queues }: LocateOptions,
  { identity, lease }: { readonly identity: ProcessIdentity; readonly lease: number },
): Promise<ReadonlyMap<string, Whereabouts>> {
  const wanted = new Set(ids);
  const tasks = JSON.stringify(ids);
  const places = new Map<string, Whereabouts>();
  for (let after = 0; ; ) {
    const step = await db.read(() => {
      const last = queries.lastOf(after, handful);
      return last === undefined
        ? undefined
        : { last, rows: queries.places(after, last, tasks), consumers: queries.consumers() };
    });
    if (step === undefined) return places;
    after = step.last;
    const now = Date.now();
    for (const row of step.rows) {
      const id = String(readHead(row.head, "").message.headers.id);
      if (!wanted.has(id) || (row.state === 0 && !queues.includes(row.queue))) continue;
      const place = placeOf(row, step.consumers, { identity, lease, now });
      if (place.kind !== "dead" || !places.has(id)) places.set(id, place);
    }
  }
}

interface Here {
  readonly identity: ProcessIdentity;
  /** Seconds. */
  readonly lease: number;
  readonly now: number;
}

function placeOf(
  { queue, state, owner, due, letter }: PlaceRow,
  consumers: readonly ConsumerRow[],
  here: Here,
): Whereabouts {
  if (state === 0) return { kind: "waiting", queue };
  if (state === 2) return { kind: "parked", queue, due: new Date(due ?? here.now) };
  if (state === 3) return { kind: "dead", queue, letter: letter ?? "" };
  const gone = (one: ConsumerRow): boolean => isGone(one, here.identity, here.now, here.lease);
  const holder = consumers.find(({ id }) => id === owner);
  const node = holder?.node ?? null;
  if (holder === undefined || gone(holder)) {
    const swept = consumers.some((one) => one !== holder && !gone(one));
    return { kind: "orphaned", queue, node, due: swept ? new Date(here.now + sweepMs) : null };
  }
  const seen = livenessOf(holder.identity, here.identity) === "alive";
  return { kind: "held", queue, node, until: seen ? null : new Date(holder.renewed + here.lease * 1000) };
}
