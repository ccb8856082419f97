import type { Sqlite } from "../../system/sqlite.ts";
import type { DeadLetter, DeadLetters } from "../broker.ts";
import { redriven } from "../marks.ts";
import { bell } from "./bell.ts";
import { readHead, writeHead } from "./head.ts";
import type { Queries } from "./queries.ts";

/** Dead letters forgotten in one transaction. */
const handful = 500;

/** The part of the file that keeps what was rejected. `use` gives the open file or rejects. */
export class SqliteDeadLetters implements DeadLetters {
  readonly #use: <Value>(work: (db: Sqlite, queries: Queries) => Promise<Value>) => Promise<Value>;
  readonly #maxBodySize: number;
  readonly #shelf: boolean;

  constructor(
    use: <Value>(work: (db: Sqlite, queries: Queries) => Promise<Value>) => Promise<Value>,
    maxBodySize: number,
    shelf = false,
  ) {
    this.#use = use;
    this.#maxBodySize = maxBodySize;
    this.#shelf = shelf;
  }

  count(): Promise<number> {
    return this.#use((db, queries) => db.read(() => queries.countDead(this.#shelf)));
  }

  async list({ limit = 100, offset = 0 } = {}): Promise<readonly DeadLetter[]> {
    const rows = await this.#use((db, queries) =>
      db.read(() => queries.listDead(this.#shelf, limit, offset, this.#maxBodySize)),
    );
    return rows.map(({ id, queue, reason, node, at, size, head, body }) => {
      const { message, damage } = readHead(head, body);
      const letter = { id, queue, reason, node, at: new Date(at), size };
      return damage === null
        ? { ...letter, message, raw: null }
        : { ...letter, message: null, raw: head.slice(0, 1000) };
    });
  }

  redrive(ids: readonly string[]): Promise<number> {
    return this.#use((db, queries) =>
      db.write(() => {
        db.ring(bell);
        return ids.filter((id) => queries.redrive(this.#shelf, id, redrivenHead)).length;
      }),
    );
  }

  purge(ids?: readonly string[]): Promise<number> {
    return this.#use(async (db, queries) => {
      if (ids) return await db.write(() => ids.filter((id) => queries.forgetDead(this.#shelf, id)).length);
      for (let total = 0; ; ) {
        const some = await db.write(
          () => queries.someDead(this.#shelf, handful).filter((id) => queries.forgetDead(this.#shelf, id)).length,
        );
        total += some;
        if (some < handful) return total;
      }
    });
  }
}

/** One that cannot be read goes back as it is. */
function redrivenHead(head: string): string {
  const { message, damage } = readHead(head, "");
  if (damage !== null) return head;
  return writeHead({ ...message, headers: { ...message.headers, ...redriven(message.headers) } });
}
