import { isUtf8 } from "node:buffer";
import { randomUUID } from "node:crypto";
import { decodeEnvelope, markRedelivered } from "../../protocol/envelope.ts";
import { boundQueues, readBindings } from "./bindings.ts";
import type { RedisConnection } from "./connection.ts";
import { bindingKey, listKey, type RedisKeys } from "./keys.ts";
import { buryScript, readScript, returnScript, unlockScript } from "./scripts.ts";

/**
 * How messages come back into their queues: what a consumer gives up, what a dead one held, what
 * kombu calls visible again. Redis hands out the stored values, they are marked redelivered here
 * without touching a byte more (protocol 6.7), and Redis moves each in one step, if it is still
 * the same one.
 */

/** Larger ones are moved inside Redis, unmarked, rather than carried here and back. */
const largestToMark = 4 << 20;
const tailLength = 4096;
const chunk = 64;

/** One entry of `unacked` as it stands there. */
interface Entry {
  readonly tag: string;
  readonly age: string;
  /** Nothing is stored under the tag. */
  readonly missing: boolean;
  /** Null when it is too large to carry around, or is none. */
  readonly envelope: Buffer | null;
  readonly exchange: string;
  readonly routingKey: string;
}

/** To the right end of a list, where the next one is taken; or to the left, behind what waits. */
export type End = "RPUSH" | "LPUSH";

export interface Returning {
  readonly connection: RedisConnection;
  readonly keys: RedisKeys;
  /** The set of who holds them; a set that does not exist when nobody of tq does. */
  readonly held: string;
  /** They are ours for as long as we hold them, whatever their age: it changes as the lease is renewed. */
  readonly mine?: boolean;
}

/** Puts messages back, in this order; to have the first one in front with RPUSH give it last. Says how many there were. */
export async function returnMessages(into: Returning, tags: readonly string[], end: End): Promise<number> {
  let returned = 0;
  for (let first = 0; first < tags.length; first += chunk) {
    const entries = await readEntries(into, tags.slice(first, first + chunk));
    returned += await moveEntries(into, entries, end);
  }
  return returned;
}

/** Puts back what was taken and never handed over: unchanged, in front, the first of them first. */
export async function untake(into: Returning, taken: readonly { tag: string; list: string }[]): Promise<void> {
  for (let last = taken.length; last > 0; last -= chunk) {
    const args = taken
      .slice(Math.max(0, last - chunk), last)
      .reverse()
      .flatMap(({ tag, list }) => [tag, "", "", 1, list]);
    await into.connection.run(returnScript, scriptKeys(into), ["RPUSH", ...args]);
  }
}

/** Puts back all that a consumer held, the oldest first in line; newest go first, so that none overtakes (trap 27). */
export async function returnAll(into: Returning): Promise<number> {
  let returned = 0;
  for (;;) {
    const tags = await into.connection.call<string[]>("zrevrange", into.held, 0, chunk - 1);
    if (tags.length === 0) return returned;
    returned += await returnMessages(into, tags, "RPUSH");
  }
}

/**
 * kombu's own restore (`transport/redis.py#restore_visible`): what has been unacked for longer than
 * the visibility timeout goes back, whoever held it. One process at a time, by kombu's lock.
 */
export async function restoreVisible(
  into: Returning,
  options: { readonly before: number; readonly limit: number | undefined; readonly lockSeconds: number },
): Promise<number> {
  const { connection, keys } = into;
  const token = randomUUID().replaceAll("-", "");
  const locked = await connection.call("set", keys.unackedMutex, token, "PX", options.lockSeconds * 1000, "NX");
  if (locked === null) return 0;
  try {
    let restored = 0;
    const limit = options.limit ?? Number.POSITIVE_INFINITY;
    for (let looked = 0; looked < limit; ) {
      const count = Math.min(chunk, limit - looked);
      const tags = await connection.call<string[]>(
        "zrevrangebyscore",
        keys.unackedIndex,
        options.before,
        0,
        "LIMIT",
        0,
        count,
      );
      restored += await returnMessages(into, tags, "RPUSH");
      if (tags.length < count) break;
      looked += tags.length;
    }
    return restored;
  } finally {
    await connection.run(unlockScript, [keys.unackedMutex], [token]).catch(() => undefined);
  }
}

const scriptKeys = ({ keys, held }: Returning): string[] => [keys.unacked, keys.unackedIndex, held];

async function readEntries({ connection, keys }: Returning, tags: readonly string[]): Promise<Entry[]> {
  const answer = await connection.run<(Buffer | number)[]>(
    readScript,
    [keys.unacked, keys.unackedIndex],
    [largestToMark, ...tags],
    "bytes",
  );
  return tags.map((tag, index) => {
    const [age, size, value] = answer.slice(3 * index, 3 * index + 3) as [Buffer, number, Buffer];
    return { tag, age: age.toString(), missing: size < 0, ...takeApart(value, value.length === size) };
  });
}

/** `[envelope, "exchange", "routing_key"]`: read from the end, so that the envelope is not decoded. */
export function takeApart(value: Buffer, whole: boolean): Pick<Entry, "envelope" | "exchange" | "routingKey"> {
  // Two names never fill this much; more is not looked at.
  const tail = value.subarray(-tailLength).toString("latin1");
  const match = /,\s*("(?:[^"\\]|\\.)*"|null)\s*,\s*("(?:[^"\\]|\\.)*"|null)\s*\]\s*$/.exec(tail);
  if (match === null) return { envelope: null, exchange: "", routingKey: "" };
  const text = (json: string): string => {
    const parsed: unknown = JSON.parse(Buffer.from(json, "latin1").toString());
    return typeof parsed === "string" ? parsed : "";
  };
  return {
    envelope: whole ? value.subarray(1, value.length - (tail.length - match.index)) : null,
    exchange: text(match[1] as string),
    routingKey: text(match[2] as string),
  };
}

async function moveEntries(into: Returning, entries: readonly Entry[], end: End): Promise<number> {
  const args: (string | number)[] = [];
  for (const entry of entries) {
    if (entry.missing) {
      await forget(into, entry.tag);
      continue;
    }
    const marked = markedText(entry.envelope);
    const lists = await destinations(into, entry, marked);
    if (lists.length === 0) await buryUnroutable(into, entry);
    else args.push(entry.tag, into.mine ? "" : entry.age, marked ?? "", lists.length, ...lists);
  }
  return args.length === 0 ? 0 : into.connection.run<number>(returnScript, scriptKeys(into), [end, ...args]);
}

/** An index entry without a message, which kombu clears away too. */
async function forget({ connection, keys, held }: Returning, tag: string): Promise<void> {
  await Promise.all([connection.call("zrem", held, tag), connection.call("zrem", keys.unackedIndex, tag)]);
}

/** Null where marking would change more than the marks: what is no sound envelope is put back as it is. */
function markedText(envelope: Buffer | null): string | null {
  if (envelope === null || !isUtf8(envelope)) return null;
  const text = envelope.toString();
  return decodeEnvelope(text).damage === null ? markRedelivered(text) : null;
}

/** Where it was taken from, or would be published to again (kombu `_do_restore_message`). */
async function destinations({ connection, keys }: Returning, entry: Entry, text: string | null): Promise<string[]> {
  const priority = text === null ? 0 : decodeEnvelope(text).message.properties.priority;
  let queues = [entry.routingKey];
  if (entry.exchange !== "") {
    const members = await connection.call<string[]>("smembers", bindingKey(keys, entry.exchange));
    queues = boundQueues(readBindings(keys, members), entry.routingKey);
  }
  return queues.filter((queue) => queue !== "").map((queue) => listKey(keys, queue, priority));
}

/** Python loses a message whose queue is no longer bound; here it is kept where somebody can see it. */
async function buryUnroutable({ connection, keys, held, mine }: Returning, entry: Entry): Promise<void> {
  const about = {
    queue: entry.routingKey,
    reason: `no queue is bound to the exchange ${JSON.stringify(entry.exchange)} with the key ${JSON.stringify(entry.routingKey)} any more`,
    at: Date.now() / 1000,
    node: "",
  };
  await connection.run(
    buryScript,
    [keys.unacked, keys.unackedIndex, held, keys.dead.dead, keys.dead.about, keys.dead.index],
    [entry.tag, mine ? "" : entry.age, randomUUID(), JSON.stringify(about), 0],
  );
}
