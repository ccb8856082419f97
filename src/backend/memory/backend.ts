import { setTimeout as sleep } from "node:timers/promises";
import { BackendConnectionError } from "../../errors.ts";
import type { ResultTuple, TaskMeta } from "../../protocol/task-meta.ts";
import { type ChordPart, fireAgainAfter, type ResultBackend } from "../backend.ts";
import { byIndex } from "../chord-join.ts";
import type { BackendOptions } from "../options.ts";
import { decodeRecord, type ResultRecord } from "../record.ts";
import { Waiters, type WatchOptions } from "../waiters.ts";
import { MemoryResults } from "./results.ts";

/**
 * The one state in a module of this folder: the URL is the address of a store within this
 * process, as a host and port are outside of it. Two backends made from one URL must meet.
 */
const stores = new Map<string, MemoryResults>();

/** A store whose results live in this process and end with it: for tests and for `memory://` brokers. */
export function createMemoryBackend(url: string, options: BackendOptions): ResultBackend {
  const name = url.replace(/^(cache\+)?memory(:\/*)?/, "").replace(/\/+$/, "");
  const store = stores.get(name) ?? new MemoryResults();
  stores.set(name, store);
  return new MemoryBackend(`memory://${name}`, store, options);
}

class MemoryBackend implements ResultBackend {
  readonly kind = "memory";
  readonly features = { persistent: true, chords: true };
  readonly replyTo = "";
  readonly displayUrl: string;
  readonly #results: MemoryResults;
  readonly #options: BackendOptions;
  readonly #waiters = new Waiters();
  #closed = false;
  readonly #onStore = (record: ResultRecord): void => {
    if (this.#waiters.wants(record.taskId)) void this.#decode(record).then((meta) => this.#waiters.deliver(meta));
  };

  constructor(displayUrl: string, results: MemoryResults, options: BackendOptions) {
    this.displayUrl = displayUrl;
    this.#results = results;
    this.#options = options;
    results.onStore(this.#onStore);
  }

  async prepare(): Promise<void> {
    this.#mustBeOpen();
  }

  async store(record: ResultRecord): Promise<void> {
    this.#mustBeOpen();
    this.#results.store(record, this.#expiry());
  }

  async load(taskId: string): Promise<TaskMeta | undefined> {
    this.#mustBeOpen();
    const record = this.#results.load(taskId);
    return record && this.#decode(record);
  }

  async forget(taskId: string): Promise<void> {
    this.#mustBeOpen();
    this.#results.forget(taskId);
  }

  watch(taskIds: Iterable<string>, options: WatchOptions): AsyncIterable<TaskMeta> {
    this.#mustBeOpen();
    return this.#waiters.watch(taskIds, options, async (ids) => {
      const metas = await Promise.all(ids.map((taskId) => this.load(taskId)));
      return metas.filter((meta) => meta !== undefined);
    });
  }

  async saveGroup(groupId: string, result: ResultTuple): Promise<void> {
    this.#mustBeOpen();
    this.#results.groups.set(groupId, { value: result, expiresAt: this.#expiry() });
  }

  async loadGroup(groupId: string): Promise<ResultTuple | undefined> {
    this.#mustBeOpen();
    return this.#results.groups.get(groupId);
  }

  async forgetGroup(groupId: string): Promise<void> {
    this.#mustBeOpen();
    this.#results.groups.delete(groupId);
  }

  async saveWorkflow(id: string, text: string): Promise<void> {
    this.#mustBeOpen();
    this.#results.workflows.set(id, { value: text, expiresAt: this.#expiry() });
  }

  async loadWorkflow(id: string): Promise<string | undefined> {
    this.#mustBeOpen();
    return this.#results.workflows.get(id);
  }

  async openChord(groupId: string, size: number, options: { readonly grow?: string } = {}): Promise<void> {
    this.#mustBeOpen();
    const chord = this.#results.chords.get(groupId);
    const parts = chord?.parts ?? new Map<string, ChordPart>();
    const added = chord?.added ?? new Set<string>();
    if (options.grow !== undefined && added.has(options.grow)) return;
    if (options.grow !== undefined) added.add(options.grow);
    const grown = options.grow === undefined ? size : (chord?.size ?? 0) + size;
    this.#results.chords.set(groupId, { value: { size: grown, parts, added }, expiresAt: this.#expiry() });
  }

  async addChordPart(groupId: string, part: ChordPart): Promise<readonly ChordPart[] | undefined> {
    this.#mustBeOpen();
    const chord = this.#results.chords.get(groupId);
    if (!chord) return undefined;
    if (chord.parts.has(part.taskId)) return chord.firedBy === part.taskId ? this.#again(groupId) : undefined;
    chord.parts.set(part.taskId, part);
    if (chord.parts.size !== chord.size) return undefined;
    chord.firedBy = part.taskId;
    return [...chord.parts.values()].sort(byIndex);
  }

  /** The parts once more, unless whoever has them closes the chord meanwhile. */
  async #again(groupId: string): Promise<readonly ChordPart[] | undefined> {
    await sleep(fireAgainAfter * 1000);
    const chord = this.#results.chords.get(groupId);
    return chord && [...chord.parts.values()].sort(byIndex);
  }

  async closeChord(groupId: string): Promise<void> {
    this.#mustBeOpen();
    this.#results.chords.delete(groupId);
  }

  async cleanup(): Promise<number> {
    this.#mustBeOpen();
    return this.#results.cleanup();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#results.offStore(this.#onStore);
    this.#waiters.fail(new BackendConnectionError(`${this.displayUrl} was closed while results were awaited`));
  }

  #decode(record: ResultRecord): Promise<TaskMeta> {
    return decodeRecord(record, this.#options.accept);
  }

  #expiry(): number {
    return this.#options.expires === null ? Number.POSITIVE_INFINITY : Date.now() + this.#options.expires * 1000;
  }

  #mustBeOpen(): void {
    if (this.#closed) throw new BackendConnectionError(`${this.displayUrl} is closed`);
  }
}
