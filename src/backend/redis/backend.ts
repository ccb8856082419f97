import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { SharedWrite } from "../../broker/broker.ts";
import type { RedisCommands } from "../../broker/redis/commands.ts";
import { positive, type RedisAddress, redisAddress } from "../../broker/redis/options.ts";
import { parseBackendUrl } from "../../config/url.ts";
import { ImproperlyConfigured } from "../../errors.ts";
import { createGroupMeta, type ResultTuple, type TaskMeta } from "../../protocol/task-meta.ts";
import { type ChordPart, fireAgainAfter, type ResultBackend } from "../backend.ts";
import type { BackendOptions } from "../options.ts";
import type { ResultRecord } from "../record.ts";
import type { WatchOptions } from "../waiters.ts";
import { Connecting } from "./connecting.ts";
import { type ResultKeys, resultKeys } from "./keys.ts";
import { RedisLink } from "./link.ts";
import { chordPartScript, growChordScript, setScript } from "./scripts.ts";
import { Storing } from "./storing.ts";
import { bytesOfRecord, StoredValues } from "./values.ts";
import { RedisWatch } from "./watch.ts";

/** Seconds an operation may take over all its attempts; Celery's `retry_policy: {timeout}` sets it. */
const defaultPatience = 5;

/**
 * A result store in Redis, wire-equal with Celery's. Connects when it is first needed.
 *
 * Throws `ImproperlyConfigured` for a URL or options that cannot work.
 */
export function createRedisBackend(url: string, options: BackendOptions): ResultBackend {
  const parsed = parseBackendUrl(url, options.redisDefaults);
  if (parsed.transport !== "redis") throw new ImproperlyConfigured("not the URL of a Redis result store");
  return new RedisBackend(redisAddress(parsed, url, options), options);
}

/**
 * Keeps results under Celery's keys; one connection works, and one listens while somebody waits.
 * Where a broker of this process is on the same server, they are its connections.
 */
export class RedisBackend implements ResultBackend {
  readonly kind = "redis";
  readonly features = { persistent: true, chords: true };
  readonly replyTo = "";
  readonly displayUrl: string;
  readonly #keys: ResultKeys;
  readonly #link: RedisLink<RedisCommands>;
  readonly #storing: Storing;
  readonly #watch: RedisWatch;
  readonly #values: StoredValues;
  /** Whole seconds; 0 is for ever. */
  readonly #seconds: number;
  readonly #ordered: boolean;
  readonly #db: number;

  constructor(address: RedisAddress, options: BackendOptions) {
    const { retry_policy: policy, result_chord_ordered: ordered } = options.transportOptions;
    const patience = positive((policy as { readonly timeout?: unknown } | undefined)?.timeout) ?? defaultPatience;
    this.displayUrl = address.displayUrl;
    this.#db = address.db;
    this.#keys = resultKeys(options.transportOptions);
    this.#seconds = Math.ceil(options.expires ?? 0);
    this.#ordered = ordered !== false;
    this.#values = new StoredValues(options);
    const connecting = new Connecting(address, options.broker);
    this.#link = new RedisLink({ displayUrl: address.displayUrl, patience, open: connecting.working });
    this.#storing = new Storing(this.#link, this.#seconds);
    this.#watch = new RedisWatch({
      displayUrl: address.displayUrl,
      connecting,
      patience,
      reading: this.#link,
      values: this.#values,
      keyPrefix: this.#keys.task,
    });
  }

  async prepare(): Promise<void> {
    if (this.#link.isClosed) throw this.#link.closedError();
  }

  async store(record: ResultRecord): Promise<void> {
    await this.#storing.store(this.#keys.task + record.taskId, bytesOfRecord(record));
  }

  async sharedWrite(record: ResultRecord): Promise<SharedWrite> {
    const key = this.#keys.task + record.taskId;
    return { store: "redis", db: this.#db, key, value: bytesOfRecord(record), seconds: this.#seconds };
  }

  async load(taskId: string): Promise<TaskMeta | undefined> {
    const value = await this.#get(this.#keys.task + taskId);
    return value === null ? undefined : this.#values.meta(value, taskId);
  }

  async forget(taskId: string): Promise<void> {
    await this.#delete(this.#keys.task + taskId);
  }

  watch(taskIds: Iterable<string>, options: WatchOptions): AsyncIterable<TaskMeta> {
    return this.#watch.watch(taskIds, options);
  }

  async saveGroup(groupId: string, result: ResultTuple): Promise<void> {
    await this.#set(this.#keys.group + groupId, await this.#values.encode(createGroupMeta(result)));
  }

  async loadGroup(groupId: string): Promise<ResultTuple | undefined> {
    const value = await this.#get(this.#keys.group + groupId);
    return value === null ? undefined : this.#values.group(value, groupId);
  }

  async forgetGroup(groupId: string): Promise<void> {
    await this.#delete(this.#keys.group + groupId);
  }

  async saveWorkflow(id: string, text: string): Promise<void> {
    const key = this.#keys.workflow + id;
    const set = this.#seconds > 0 ? ["setex", key, this.#seconds, text] : ["set", key, text];
    await this.#link.use((connection) => connection.call(...(set as [string, ...string[]])));
  }

  async loadWorkflow(id: string): Promise<string | undefined> {
    return (await this.#get(this.#keys.workflow + id))?.toString("utf8");
  }

  async openChord(groupId: string, size: number, { grow }: { readonly grow?: string } = {}): Promise<void> {
    const { s, t, counted } = this.#chordKeys(groupId);
    if (grow === undefined) {
      await this.#set(s, String(size));
      return;
    }
    await this.#link.use((connection) => connection.run(growChordScript, [t, counted], [grow, size, this.#seconds]));
  }

  async addChordPart(groupId: string, part: ChordPart): Promise<readonly ChordPart[] | undefined> {
    const { j, t, s, counted } = this.#chordKeys(groupId);
    const { member, head } = await this.#values.chordMember(part);
    const args = [
      part.taskId,
      member,
      part.index ?? "+inf",
      this.#ordered ? "1" : "0",
      this.#seconds,
      randomUUID(),
      fireAgainAfter,
      head,
    ];
    for (;;) {
      const answer = await this.#link.use((connection) =>
        connection.run<Buffer[] | Buffer | null>(chordPartScript, [j, t, s, counted], args, "bytes"),
      );
      if (answer === null) return undefined;
      if (!Buffer.isBuffer(answer)) return this.#parts(answer);
      await sleep(Number(answer.toString()) * 1000 + 5);
    }
  }

  async closeChord(groupId: string): Promise<void> {
    const { j, t, s, counted } = this.#chordKeys(groupId);
    await this.#delete(j, t, s, counted);
  }

  /** Redis itself forgets what has expired. */
  async cleanup(): Promise<number> {
    if (this.#link.isClosed) throw this.#link.closedError();
    return 0;
  }

  async close(): Promise<void> {
    this.#watch.close();
    this.#link.close();
  }

  async #parts(answer: readonly Buffer[]): Promise<ChordPart[]> {
    const step = this.#ordered ? 2 : 1;
    const parts: ChordPart[] = [];
    for (let at = 0; at < answer.length; at += step) {
      const part = await this.#values.part(answer[at] as Buffer);
      const score = this.#ordered
        ? Number(String(answer[at + 1]).replace("inf", "Infinity"))
        : Number.POSITIVE_INFINITY;
      if (part !== null) parts.push({ ...part, index: Number.isFinite(score) ? score : null });
    }
    return parts;
  }

  #chordKeys(groupId: string): { j: string; t: string; s: string; counted: string } {
    const { group, counted } = this.#keys;
    return {
      j: `${group}${groupId}.j`,
      t: `${group}${groupId}.t`,
      s: `${group}${groupId}.s`,
      counted: counted + groupId,
    };
  }

  /** As Celery sets a value: kept for its time, and published under its name. */
  #set(key: string, value: string | Buffer): Promise<unknown> {
    return this.#link.use((connection) => connection.run(setScript, [key], [this.#seconds, value]));
  }

  #get(key: string): Promise<Buffer | null> {
    return this.#link.use((connection) => connection.callBuffer<Buffer | null>("get", key));
  }

  #delete(...keys: string[]): Promise<number> {
    return this.#link.use((connection) => connection.call<number>("del", ...keys));
  }
}
