import type { Duplex } from "node:stream";
import { Redis } from "ioredis";
import type { OperationalError } from "../../errors.ts";
import { type Answer, type Argument, RedisCommands } from "./commands.ts";
import type { RedisAddress } from "./options.ts";

/** Makes the error a port promises out of whatever went wrong. `lost` says that the connection is to blame. */
export type RedisErrorMaker = (message: string, lost: boolean, cause: unknown) => OperationalError;

export interface ConnectionOptions {
  readonly address: RedisAddress;
  readonly error: RedisErrorMaker;
  /** Seconds a command may go unanswered while nothing at all arrives; then the connection counts as dead. */
  readonly deadline: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * One connection to Redis that is open or gone for good. Commands on a dead one reject at once;
 * a link on which nothing is answered within the deadline is declared dead, because TCP alone
 * would take a quarter of an hour to notice. Every failure comes out as the error of the port it
 * serves, with the address in it and never the password.
 */
export class RedisConnection extends RedisCommands {
  readonly client: Redis;
  readonly #error: RedisErrorMaker;
  readonly #displayUrl: string;
  readonly #deadlineMs: number;
  readonly #onLost: ((error: OperationalError) => void)[] = [];
  #lastError: Error | undefined;
  #gone: OperationalError | undefined;
  #closing = false;
  #silent = false;
  /** Commands sent and not answered. */
  #pending = 0;
  /** When something was last answered, or the first of what is pending was sent. */
  #progressMs = 0;
  #watchdog: NodeJS.Timeout | undefined;

  private constructor(options: ConnectionOptions) {
    super();
    this.#error = options.error;
    this.#displayUrl = options.address.displayUrl;
    this.#deadlineMs = options.deadline * 1000;
    this.client = new Redis({ ...options.address.options, replyMapping: "legacy" });
    this.client.on("error", (error: Error) => {
      this.#lastError = error;
    });
    this.client.once("end", () => this.#lose());
  }

  /** Connects and makes sure that the server serves. Rejects with the port's connection error. */
  static async open(options: ConnectionOptions): Promise<RedisConnection> {
    const connection = new RedisConnection(options);
    const { signal } = options;
    const limitMs = options.address.connectTimeout * 1000;
    const timer = setTimeout(() => {
      connection.#lastError = new Error(`no answer within ${options.address.connectTimeout} s`);
      connection.client.disconnect();
    }, limitMs);
    const abort = (): void => connection.client.disconnect();
    signal?.addEventListener("abort", abort, { once: true });
    try {
      signal?.throwIfAborted();
      await connection.client.connect();
      // Says LOADING, NOAUTH or MASTERDOWN now rather than at the first command that matters.
      await connection.client.ping();
      // The client has chosen its database, and goes on in database 0 when it may not.
      const { db = 0 } = options.address.options;
      if (db !== 0) await connection.client.select(db);
      return connection;
    } catch (error) {
      connection.close();
      if (signal?.aborted) throw signal.reason;
      const cause = connection.#lastError ?? error;
      throw connection.#error(`cannot connect to ${connection.#displayUrl}: ${messageOf(cause)}`, true, cause);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
  }

  override get isOpen(): boolean {
    return this.#gone === undefined && !this.#closing;
  }

  /** Whether it was given up because nothing was answered: whatever else leads to this server may be as dead. */
  get wentSilent(): boolean {
    return this.#silent;
  }

  /** Called once when the connection ends without `close`. */
  onLost(listener: (error: OperationalError) => void): void {
    this.#onLost.push(listener);
  }

  override send<Reply>(answer: Answer, command: string, args: readonly Argument[]): Promise<Reply> {
    const given = args as Argument[];
    const sent = answer === "text" ? this.client.call(command, given) : this.client.callBuffer(command, given);
    return sent as Promise<Reply>;
  }

  /** Ends the connection without a word to its listeners. Idempotent. */
  close(): void {
    this.#closing = true;
    clearTimeout(this.#watchdog);
    this.client.disconnect();
  }

  /** The same, without waiting for what is being sent: at a dead server that would take seconds. */
  drop(): void {
    this.close();
    // What waits for an answer is told now, not when the other end has agreed to part.
    (this.client as unknown as { readonly stream?: Duplex }).stream?.destroy();
  }

  /** Holds the deadline over the answer to a command sent through `client`, and translates its error. */
  override async watch<Reply>(answer: Promise<Reply>): Promise<Reply> {
    if (this.#pending === 0) this.#progressMs = performance.now();
    this.#pending += 1;
    this.#watchdog ??= this.#arm(this.#deadlineMs);
    try {
      return await answer;
    } catch (error) {
      throw this.#translate(error);
    } finally {
      this.#pending -= 1;
      this.#progressMs = performance.now();
    }
  }

  #arm(ms: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#watchdog = undefined;
      if (this.#pending === 0 || !this.isOpen) return;
      const leftMs = this.#progressMs + this.#deadlineMs - performance.now();
      if (leftMs > 0) this.#watchdog = this.#arm(leftMs);
      else this.#suspect(this.#progressMs);
    }, ms);
  }

  /** This process itself may have slept past the deadline: answers that lie in the socket get their chance to be read. */
  #suspect(progressMs: number): void {
    this.#watchdog = setTimeout(() => {
      this.#watchdog = undefined;
      if (this.#pending === 0 || !this.isOpen) return;
      if (this.#progressMs > progressMs) this.#watchdog = this.#arm(this.#deadlineMs);
      else {
        this.#silent = true;
        this.fail(new Error(`no answer within ${this.#deadlineMs / 1000} s`));
      }
    }, 50);
  }

  /** Declares the connection dead, for a reason of the caller's. */
  fail(cause: Error): void {
    this.#lastError = cause;
    this.#lose();
    this.drop();
  }

  #lose(): void {
    if (this.#gone !== undefined) return;
    clearTimeout(this.#watchdog);
    const gone = this.#lost();
    this.#gone = gone;
    if (this.#closing) return;
    for (const listener of this.#onLost.splice(0)) listener(gone);
  }

  #lost(): OperationalError {
    const cause = this.#lastError ?? new Error("the server closed it");
    return this.#error(`the connection to ${this.#displayUrl} is lost: ${messageOf(cause)}`, true, cause);
  }

  #translate(error: unknown): OperationalError {
    const text = messageOf(error);
    if (this.#gone !== undefined) return this.#gone;
    if (/Connection is closed|isn't writeable|Command aborted/i.test(text)) {
      // Commands hear of the end before the event that tells of it.
      this.#lose();
      return this.#gone ?? this.#lost();
    }
    // A server that is there and cannot serve: another attempt later may find it, or another one, serving.
    if (/^(READONLY|MASTERDOWN)\b/.test(text)) this.fail(new Error(text));
    const unable = /^(LOADING|MASTERDOWN|READONLY|NOAUTH|CLUSTERDOWN|NOREPLICAS|TRYAGAIN)\b/.test(text);
    return this.#error(`${this.#displayUrl} refused a command: ${text}`, unable, error);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}
