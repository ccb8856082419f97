import { decodeEnvelope, markRedelivered } from "../../protocol/envelope.ts";
import type { DeadLetter, DeadLetters } from "../broker.ts";
import { redriven } from "../marks.ts";
import type { RedisConnection } from "./connection.ts";
import { type GraveKeys, listKey, type RedisKeys } from "./keys.ts";
import { readDeadScript, redriveScript } from "./scripts.ts";

/** Larger ones are shown by their beginning. */
const largestToShow = 4 << 20;
const beginning = 1024;
const atOnce = 100;

/** The dead-letter store in Redis: each envelope byte for byte, beside it what is said about it. */
export class RedisDeadLetters implements DeadLetters {
  readonly #connection: () => RedisConnection;
  readonly #keys: RedisKeys;
  readonly #graves: GraveKeys;

  constructor(connection: () => RedisConnection, keys: RedisKeys, graves: GraveKeys) {
    this.#connection = connection;
    this.#keys = keys;
    this.#graves = graves;
  }

  async count(): Promise<number> {
    return this.#connection().call<number>("zcard", this.#graves.index);
  }

  async list({
    limit = 100,
    offset = 0,
  }: {
    readonly limit?: number;
    readonly offset?: number;
  } = {}): Promise<readonly DeadLetter[]> {
    const connection = this.#connection();
    const ids = await connection.call<string[]>("zrevrange", this.#graves.index, offset, offset + limit - 1);
    const letters: DeadLetter[] = [];
    for (let first = 0; first < ids.length; first += atOnce) {
      letters.push(...(await this.#read(connection, ids.slice(first, first + atOnce))));
    }
    return letters;
  }

  async redrive(ids: readonly string[]): Promise<number> {
    const connection = this.#connection();
    const { dead, about, index } = this.#graves;
    let count = 0;
    for (let first = 0; first < ids.length; first += atOnce) {
      for (const letter of await this.#read(connection, ids.slice(first, first + atOnce))) {
        const list = listKey(this.#keys, letter.queue, letter.message?.properties.priority ?? 0);
        count += await connection.run<number>(
          redriveScript,
          [dead, about, index, list],
          // What could not be read whole goes back as it is.
          [
            letter.id,
            letter.text === null ? "" : markRedelivered(letter.text, redriven(letter.message?.headers ?? {})),
          ],
        );
      }
    }
    return count;
  }

  async purge(ids?: readonly string[]): Promise<number> {
    const connection = this.#connection();
    const { dead, about, index } = this.#graves;
    if (ids === undefined) {
      const count = await connection.call<number>("zcard", index);
      await connection.call("unlink", dead, about, index);
      return count;
    }
    let purged = 0;
    for (let first = 0; first < ids.length; first += atOnce) {
      const some = ids.slice(first, first + atOnce);
      await connection.call("hdel", dead, ...some);
      await connection.call("hdel", about, ...some);
      purged += await connection.call<number>("zrem", index, ...some);
    }
    return purged;
  }

  async #read(connection: RedisConnection, ids: readonly string[]): Promise<(DeadLetter & { text: string | null })[]> {
    const { dead, about: aboutKey } = this.#graves;
    const answer = await connection.run<(string | number)[]>(
      readDeadScript,
      [dead, aboutKey],
      [largestToShow, beginning, ...ids],
    );
    const letters: (DeadLetter & { text: string | null })[] = [];
    for (let at = 0; at < answer.length; at += 4) {
      const [id, about, size, text] = answer.slice(at, at + 4) as [string, string, number, string];
      letters.push(letterOf(id, JSON.parse(about), size, text));
    }
    return letters;
  }
}

function letterOf(
  id: string,
  about: { readonly queue: string; readonly reason: string; readonly node: string; readonly at: number },
  size: number,
  text: string,
): DeadLetter & { text: string | null } {
  const whole = size <= largestToShow;
  const { message, damage } = decodeEnvelope(text);
  const readable = whole && damage === null;
  return {
    id,
    queue: about.queue,
    reason: about.reason,
    at: new Date(about.at * 1000),
    node: about.node,
    size,
    message: readable ? message : null,
    raw: readable ? null : text.slice(0, beginning),
    text: whole && !text.includes("\ufffd") ? text : null,
  };
}
