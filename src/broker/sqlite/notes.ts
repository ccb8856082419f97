import type { Sqlite } from "../../system/sqlite.ts";
import { mostNotes, type Note, type Notes, noteLifetime } from "../notes.ts";
import type { Queries } from "./queries.ts";

/** Notes as rows of a table of their own. `use` gives the open file or rejects. */
export class SqliteNotes implements Notes {
  readonly #use: <Value>(work: (db: Sqlite, queries: Queries) => Promise<Value>) => Promise<Value>;

  constructor(use: <Value>(work: (db: Sqlite, queries: Queries) => Promise<Value>) => Promise<Value>) {
    this.#use = use;
  }

  async write(texts: readonly string[]): Promise<void> {
    await this.#use((db, queries) =>
      db.write(() => {
        const now = Date.now();
        for (const text of texts) queries.writeNote(text, now);
        queries.sweepNotes(now - noteLifetime * 1000, mostNotes);
      }),
    );
  }

  async read(): Promise<readonly Note[]> {
    const oldest = Date.now() - noteLifetime * 1000;
    const rows = await this.#use((db, queries) => db.read(() => queries.notes(oldest)));
    return rows.map(({ text, at }) => ({ text, at: new Date(at) }));
  }
}
