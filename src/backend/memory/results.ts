import type { ResultTuple } from "../../protocol/task-meta.ts";
import type { ChordPart } from "../backend.ts";
import type { ResultRecord } from "../record.ts";

/** A chord that is being counted. */
export interface OpenChord {
  readonly size: number;
  readonly parts: Map<string, ChordPart>;
  /** What it has grown by. */
  readonly added: Set<string>;
  /** The task that brought the last part. */
  firedBy?: string;
}

/** What all memory backends of one name share. */
export class MemoryResults {
  readonly groups = new ExpiringMap<ResultTuple>();
  readonly chords = new ExpiringMap<OpenChord>();
  readonly workflows = new ExpiringMap<string>();
  readonly #records = new ExpiringMap<ResultRecord>();
  readonly #listeners = new Set<(record: ResultRecord) => void>();

  onStore(listener: (record: ResultRecord) => void): void {
    this.#listeners.add(listener);
  }

  offStore(listener: (record: ResultRecord) => void): void {
    this.#listeners.delete(listener);
  }

  /** `expiresAt` in milliseconds since 1970. A SUCCESS stays what it is. */
  store(record: ResultRecord, expiresAt: number): void {
    if (this.#records.get(record.taskId)?.state === "SUCCESS") return;
    this.#records.set(record.taskId, { value: record, expiresAt });
    for (const listener of this.#listeners) listener(record);
  }

  load(taskId: string): ResultRecord | undefined {
    return this.#records.get(taskId);
  }

  forget(taskId: string): void {
    this.#records.delete(taskId);
  }

  /** Removes what has expired; says how many results that were. */
  cleanup(): number {
    this.groups.cleanup();
    this.chords.cleanup();
    this.workflows.cleanup();
    return this.#records.cleanup();
  }
}

/** A map whose values are gone after their time, given in milliseconds since 1970. */
class ExpiringMap<Value> {
  readonly #entries = new Map<string, { readonly value: Value; readonly expiresAt: number }>();

  get(key: string): Value | undefined {
    const entry = this.#entries.get(key);
    return entry && entry.expiresAt > Date.now() ? entry.value : undefined;
  }

  set(key: string, entry: { readonly value: Value; readonly expiresAt: number }): void {
    this.#entries.set(key, entry);
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  cleanup(): number {
    const expired = [...this.#entries].filter(([, { expiresAt }]) => expiresAt <= Date.now());
    for (const [key] of expired) this.#entries.delete(key);
    return expired.length;
  }
}
