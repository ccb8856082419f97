import { randomUUID } from "node:crypto";
import { encodeEnvelope } from "../../protocol/envelope.ts";
import type { Exchange, Publication, SharedWrite } from "../broker.ts";
import { boundQueues, readBindings } from "./bindings.ts";
import type { RedisConnection } from "./connection.ts";
import type { Deferred } from "./deferred.ts";
import { bindingKey, fanoutChannel, listKey, type RedisKeys } from "./keys.ts";
import { handOverScript } from "./scripts.ts";

/** A message on its way into a list, or to a channel. */
export type Sending = readonly [command: "LPUSH" | "PUBLISH", key: string, text: string];

/** One step that waits to be made. */
export interface HandOverItem {
  /** Empty for a message that was acknowledged before. */
  readonly tag: string;
  /** The held set under which the tag was taken. */
  readonly held: string;
  /** The step's own name. */
  readonly id: string;
  readonly result: Extract<SharedWrite, { readonly store: "redis" }> | null;
  readonly sendings: readonly Sending[];
  /** Whether it was made by us; rejects when Redis refuses it. */
  readonly done: Deferred<boolean>;
}

/** Steps and bytes one script call carries. */
const stepsAtOnce = 200;
const bytesAtOnce = 1 << 20;

/** Where publications go: to lists, to channels, to as many as are bound. */
export async function sendingsOf(
  publications: readonly Publication[],
  keys: RedisKeys,
  connection: RedisConnection,
  typeOf: (exchange: string) => Exchange["type"],
): Promise<Sending[]> {
  const sendings: Sending[] = [];
  for (const { message, address } of publications) {
    const { exchange, routingKey } = address;
    const text = encodeEnvelope(message, address, randomUUID());
    const { priority } = message.properties;
    if (exchange === "") {
      sendings.push(["LPUSH", listKey(keys, routingKey, priority), text]);
    } else if ((address.type ?? typeOf(exchange)) === "fanout") {
      sendings.push(["PUBLISH", fanoutChannel(keys, exchange, routingKey), text]);
    } else {
      const bindings = readBindings(keys, await connection.call<string[]>("smembers", bindingKey(keys, exchange)));
      // Nobody bound: the queue by the key's own name, rather than nowhere.
      const queues = boundQueues(bindings, routingKey);
      for (const queue of queues.length > 0 ? queues : [routingKey])
        sendings.push(["LPUSH", listKey(keys, queue, priority), text]);
    }
  }
  return sendings;
}

/** Makes steps, many in one script call. Resolves each step's `done`; rejects when the call fails. */
export async function sendHandOvers(
  connection: RedisConnection,
  keys: RedisKeys,
  db: number,
  items: readonly HandOverItem[],
): Promise<void> {
  for (const batch of batches(items)) {
    const [first] = batch as [HandOverItem];
    const args = batch.flatMap(({ tag, id, result, sendings }) => [
      tag,
      keys.handOverPrefix + id,
      result?.key ?? "",
      result?.db ?? 0,
      result?.seconds ?? 0,
      result?.value ?? "",
      sendings.length,
      ...sendings.flat(),
    ]);
    const made = await connection.run<number[]>(
      handOverScript,
      [keys.unacked, keys.unackedIndex, first.held],
      [db, ...args],
    );
    for (const [index, item] of batch.entries()) item.done.resolve(made[index] === 1);
  }
}

/** In their order; a batch is of one held set. */
function* batches(items: readonly HandOverItem[]): Generator<HandOverItem[]> {
  let batch: HandOverItem[] = [];
  let bytes = 0;
  for (const item of items) {
    const size = item.sendings.reduce((sum, [, , text]) => sum + text.length, item.result?.value.length ?? 0);
    const full = batch.length >= stepsAtOnce || bytes + size > bytesAtOnce || batch[0]?.held !== item.held;
    if (batch.length > 0 && full) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(item);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}
