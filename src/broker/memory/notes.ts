import { LimitedSet } from "../../util/limited-set.ts";
import { mostNotes, type Note, type Notes, noteLifetime } from "../notes.ts";

/** Notes that live as long as the store. */
export class MemoryNotes implements Notes {
  readonly #texts = new LimitedSet({ maxSize: mostNotes, expires: noteLifetime, now: () => Date.now() / 1000 });

  async write(texts: readonly string[]): Promise<void> {
    for (const text of texts) this.#texts.add(text);
  }

  async read(): Promise<readonly Note[]> {
    return [...this.#texts.entries()].map(([text, at]) => ({ text, at: new Date(at * 1000) }));
  }
}
