import { readEnvelope } from "../../protocol/envelope.ts";
import { parseWireJson } from "../../protocol/wire-json.ts";
import { bytesOfBase64 } from "../../util/base64.ts";
import { mostParkedBody, mostParkedLooked, type ParkedMessage, type ParkedOptions } from "../broker.ts";
import type { RedisConnection } from "./connection.ts";
import { queueLists, type RedisKeys } from "./keys.ts";
import { readParkedScript } from "./scripts.ts";

/** Looked at in one step, so that nobody waits for Redis meanwhile. */
const atOnce = 500;
/** Characters of a message shown with its body. */
const largestWhole = 2 * mostParkedBody;
/** Characters of a message shown at all. */
const largestBare = 64 * 1024;

/** The parked messages of these queues, soonest due first, for display; what cannot be read is left out. */
export async function readParked(
  connection: RedisConnection,
  keys: RedisKeys,
  { queues, limit }: ParkedOptions,
): Promise<readonly ParkedMessage[]> {
  const queueOf = new Map(queues.flatMap((queue) => queueLists(keys, queue).map((list) => [list, queue] as const)));
  const found: ParkedMessage[] = [];
  for (let first = 0; first < mostParkedLooked && found.length < limit; first += atOnce) {
    const [looked, ...answer] = await connection.run<[number, ...string[]]>(
      readParkedScript,
      [keys.unacked, keys.unackedIndex, keys.parked],
      [first, first + atOnce - 1, limit - found.length, largestWhole, largestBare, ...queueOf.keys()],
    );
    for (let at = 0; at < answer.length; at += 3) {
      const [due, list, value] = answer.slice(at, at + 3) as [string, string, string];
      const one = parkedOf(Number(due), queueOf.get(list) as string, value);
      if (one !== null) found.push(one);
    }
    if (looked < atOnce) break;
  }
  return found;
}

function parkedOf(due: number, queue: string, value: string): ParkedMessage | null {
  try {
    const [document] = parseWireJson(value) as [Readonly<Record<string, unknown>>];
    const { message, address, redelivered, damage } = readEnvelope(document);
    if (damage !== null) return null;
    const body = bytesOfBase64(message.body) > mostParkedBody ? "" : message.body;
    return { message: { ...message, body }, address, queue, due: new Date(due * 1000), redelivered };
  } catch {
    return null;
  }
}
