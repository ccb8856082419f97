import { mostNotes, type Note, type Notes, noteLifetime } from "../notes.ts";
import type { RedisConnection } from "./connection.ts";
import { plainScript } from "./scripts.ts";

/** Texts one script call carries. */
const atOnce = 1_000;

/**
 * Notes as a sorted set, each under the time of its writing by Redis's clock. KEYS: the set.
 * ARGV: seconds they are kept, most of them, then the texts.
 */
const writeScript = plainScript(`
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
for i = 3, #ARGV do
  redis.call('ZADD', KEYS[1], string.format('%.6f', now + i * 0.000001), ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.6f', now - ARGV[1]))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
`);

export class RedisNotes implements Notes {
  readonly #connection: () => RedisConnection;
  readonly #key: string;

  /** `connection` gives a live one or throws `BrokerConnectionError`. */
  constructor(connection: () => RedisConnection, key: string) {
    this.#connection = connection;
    this.#key = key;
  }

  async write(texts: readonly string[]): Promise<void> {
    for (let first = 0; first < texts.length; first += atOnce) {
      const some = texts.slice(first, first + atOnce);
      await this.#connection().run(writeScript, [this.#key], [noteLifetime, mostNotes, ...some]);
    }
  }

  async read(): Promise<readonly Note[]> {
    const rows = await this.#connection().call<string[]>("zrange", this.#key, 0, -1, "WITHSCORES");
    const oldest = Date.now() - noteLifetime * 1000;
    const notes: Note[] = [];
    for (let at = 0; at < rows.length; at += 2) {
      const note = { text: rows[at] as string, at: new Date(Number(rows[at + 1]) * 1000) };
      if (note.at.getTime() > oldest) notes.push(note);
    }
    return notes;
  }
}
