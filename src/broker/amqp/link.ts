import { type Channel, type ChannelModel, type ConfirmChannel, connect } from "amqplib";
import type { AmqpUrl } from "../../config/url.ts";
import { BrokerConnectionError, ImproperlyConfigured } from "../../errors.ts";
import type { BrokerOptions } from "../options.ts";
import { connectArguments } from "./address.ts";
import { connectFailed, connectionLost } from "./failures.ts";
import { healFrames } from "./heal.ts";

export type LinkOptions = Pick<
  BrokerOptions,
  "connectTimeout" | "heartbeat" | "useSsl" | "transportOptions" | "logger"
>;

/** Milliseconds between two looks at a watched link. */
const lookMs = 250;
/** Milliseconds without a look after which this process counts as having stood still, and without a frame after which a link is doubted. */
const stillMs = 1_000;
/** Milliseconds of silence after a question until the link counts as dead. */
const silenceMs = 2_000;
/** Milliseconds the broker has to answer a goodbye. */
const goodbyeMs = 2_000;

/** What a look at a link leaves for the next. */
interface Silence {
  frames: number;
  askedAt: number | null;
  lookedAt: number;
}

/** Decides from the number of frames received so far whether to ask, or to take the link for dead. */
function judgeSilence(state: Silence, frames: number, now: number, excused: boolean): "fine" | "ask" | "dead" {
  // When this process itself stood still, what arrived meanwhile has not been read yet.
  const stoodStill = now - state.lookedAt > stillMs;
  const heard = frames !== state.frames;
  state.lookedAt = now;
  state.frames = frames;
  if (heard || stoodStill || excused) {
    state.askedAt = null;
    return "fine";
  }
  if (state.askedAt === null) {
    state.askedAt = now;
    return "ask";
  }
  return now - state.askedAt >= silenceMs ? "dead" : "fine";
}

/** A channel that remembers why it closed. Its errors never reach the process. */
export interface LinkChannel<C extends Channel = Channel> {
  readonly channel: C;
  /** Set by the broker's refusal or the loss of the link, before anything waiting on the channel is told. */
  failure: Error | null;
  readonly open: boolean;
}

/**
 * One connection to RabbitMQ. Tells once when it is lost, whoever noticed: the socket, the
 * heartbeat, or `watch`, which asks and wants an answer within a few seconds. Never
 * reconnects: what was lost stays lost, and whoever owns it makes another.
 */
export class Link {
  readonly displayUrl: string;
  /** Major and minor version of the broker. */
  readonly version: readonly [major: number, minor: number];
  /** Why this connection is not usable any more; null while it is. */
  failure: Error | null = null;
  /** It was given up because the broker did not answer: whatever else leads there may be as dead. */
  fellSilent = false;
  /** Why the broker reads nothing more from us (a memory or disk alarm); null when it does. */
  blocked: string | null = null;

  readonly #model: ChannelModel;
  readonly #onLost: (error: BrokerConnectionError) => void;
  #control: LinkChannel | null = null;
  #controlQueue: Promise<unknown> = Promise.resolve();
  #closing = false;
  #frames = 0;
  #heardMs = performance.now();
  #watching: NodeJS.Timeout | null = null;
  #told = false;
  #probe: Promise<LinkChannel> | null = null;
  /** Who wants to hear at once when the link is dead. */
  readonly #wanted: (() => boolean)[] = [];
  /** Questions the broker has not answered yet. */
  #asked = 0;
  /** Lets those who asked them go. */
  readonly #waiting = new Set<(error: Error) => void>();

  constructor(
    model: ChannelModel,
    displayUrl: string,
    options: LinkOptions,
    onLost: (error: BrokerConnectionError) => void,
  ) {
    this.#model = model;
    this.displayUrl = displayUrl;
    this.#onLost = onLost;
    const [major = 0, minor = 0] = String(model.connection.serverProperties.version).split(".").map(Number);
    this.version = [major, minor];
    healFrames(model, () => {
      this.#frames += 1;
      this.#heardMs = performance.now();
    });
    model.on("error", (error) => {
      this.failure ??= connectionLost(displayUrl, error);
    });
    model.on("close", (error) => this.#closed(error));
    model.on("blocked", (reason) => {
      this.blocked = reason;
      options.logger?.warn({ broker: displayUrl, reason }, "RabbitMQ blocks publishers: an alarm is on");
    });
    model.on("unblocked", () => {
      this.blocked = null;
      options.logger?.info({ broker: displayUrl }, "RabbitMQ takes messages again");
    });
  }

  get alive(): boolean {
    return this.failure === null && !this.#closing;
  }

  /** A channel of one's own. */
  async openChannel(): Promise<LinkChannel> {
    return this.#adopt(() => this.#model.createChannel());
  }

  /** A channel on which the broker confirms what it has taken. */
  async openConfirmChannel(): Promise<LinkChannel<ConfirmChannel>> {
    return this.#adopt(() => this.#model.createConfirmChannel());
  }

  async #adopt<C extends Channel>(open: () => Promise<C>): Promise<LinkChannel<C>> {
    this.#check();
    const channel = await this.guard(open());
    const held = {
      channel,
      failure: null as Error | null,
      get open(): boolean {
        return held.failure === null;
      },
    };
    channel.on("error", (error) => {
      held.failure ??= error;
    });
    channel.on("close", () => {
      held.failure ??= this.failure ?? new Error("the channel is closed");
    });
    return held;
  }

  /**
   * Runs one small conversation (a declaration, a look) on a channel shared for such things, one
   * after the other. A refusal closes that channel, which is opened anew for the next.
   */
  control<T>(conversation: (channel: Channel) => Promise<T>): Promise<T> {
    const run = async (): Promise<T> => {
      this.#check();
      if (!this.#control?.open) this.#control = await this.openChannel();
      return this.guard(conversation(this.#control.channel));
    };
    const result = this.#controlQueue.then(run, run);
    this.#controlQueue = result.catch(() => undefined);
    return result;
  }

  /**
   * Gives what amqplib throws when the connection goes the name everybody here expects, and throws
   * also where amqplib would wait for ever: for the answer to a channel's closing.
   */
  async guard<T>(work: Promise<T>): Promise<T> {
    this.#asked += 1;
    let giveUp: ((error: Error) => void) | undefined;
    try {
      return await new Promise<T>((resolve, reject) => {
        giveUp = reject;
        this.#waiting.add(reject);
        work.then(resolve, reject);
      });
    } catch (error) {
      // The connection's own end is told right after that of its channels.
      await Promise.resolve();
      if (this.failure) throw this.failure;
      throw error;
    } finally {
      this.#asked -= 1;
      if (giveUp) this.#waiting.delete(giveUp);
    }
  }

  /** Closes a channel; resolves when the broker has read all that was sent over it, rejects when the link ends before. */
  async closeChannel({ channel, open }: LinkChannel): Promise<void> {
    if (open) await this.guard(channel.close());
  }

  /**
   * From now on asks the broker whenever nothing came from it for a quarter of a second, while one of those
   * who watch wants to know or somebody waits for its answer, and takes no answer within 2 seconds
   * for a dead link. Heartbeats notice that too, but late.
   */
  watch(wanted: () => boolean = () => true): void {
    this.#wanted.push(wanted);
    if (this.#watching || !this.alive) return;
    const state: Silence = { frames: -1, askedAt: null, lookedAt: performance.now() };
    const look = (): void => {
      const now = performance.now();
      const excused = this.blocked !== null || (this.#asked === 0 && !this.#wanted.some((each) => each()));
      switch (judgeSilence(state, this.#frames, now, excused)) {
        case "ask":
          this.#ask();
          break;
        case "dead":
          this.fellSilent = true;
          this.destroy(new Error(`the broker has not answered for ${(silenceMs + lookMs) / 1000} s`));
          return;
        case "fine":
          break;
      }
      this.#watching = setTimeout(look, lookMs).unref();
    };
    this.#watching = setTimeout(look, lookMs).unref();
  }

  /** Anything the broker answers from memory; on a channel of its own, so that it waits behind nothing. */
  #ask(): void {
    this.#probe ??= this.openChannel();
    this.#probe
      .then(({ channel }) => channel.checkExchange("amq.direct"))
      .catch(() => {
        this.#probe = null;
      });
  }

  /** Another connection to this broker fell silent, and so has this one, unless it was heard a moment ago. */
  doubt(): void {
    if (performance.now() - this.#heardMs > stillMs) this.destroy(new Error("the broker does not answer"));
  }

  /** Ends the connection at once, saying nothing to the broker, and tells of the loss. */
  destroy(reason: Error): void {
    if (this.failure) return;
    this.failure = connectionLost(this.displayUrl, reason);
    hangUp(this.#model, reason);
    this.#closed(reason);
  }

  /** Says goodbye, and waits at most two seconds for the answer. Tells of no loss. */
  async close(): Promise<void> {
    if (this.#closing || this.failure) return;
    this.#closing = true;
    this.#stopWatching();
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, goodbyeMs);
    });
    await Promise.race([this.#model.close().catch(() => undefined), tooLate]);
    clearTimeout(timer);
    hangUp(this.#model, new Error("closed"));
    this.failure ??= new BrokerConnectionError(`the connection to ${this.displayUrl} was closed`);
  }

  #check(): void {
    if (this.failure) throw this.failure;
  }

  #closed(error: unknown): void {
    this.#stopWatching();
    this.failure ??= connectionLost(this.displayUrl, error ?? new Error("closed by the broker"));
    const { failure } = this;
    // Behind what amqplib tells its own: it knows more of each.
    setImmediate(() => {
      for (const giveUp of this.#waiting) giveUp(failure);
    });
    if (this.#told || this.#closing) return;
    this.#told = true;
    this.#onLost(this.failure as BrokerConnectionError);
  }

  #stopWatching(): void {
    clearTimeout(this.#watching ?? undefined);
    this.#watching = null;
  }
}

/** Breaks the socket. Without an error amqplib would not notice, and keep its heartbeat timers. */
function hangUp(model: ChannelModel, reason: Error): void {
  const { stream } = model.connection as unknown as { readonly stream: { destroy(error: Error): void } };
  stream.destroy(reason);
}

/**
 * Connects, within `connectTimeout` seconds and until `signal` aborts; rejects with
 * `BrokerConnectionError` (or the signal's reason). `onLost` is called once when the connection
 * has ended without `close`.
 */
export async function openLink(
  url: AmqpUrl,
  displayUrl: string,
  options: LinkOptions,
  purpose: string,
  onLost: (error: BrokerConnectionError) => void,
  signal?: AbortSignal,
): Promise<Link> {
  signal?.throwIfAborted();
  let giveUp: (reason: unknown) => void = () => undefined;
  const given = new Promise<never>((_, reject) => {
    giveUp = reject;
  });
  given.catch(() => undefined);
  const { connectTimeout } = options;
  const timer = setTimeout(() => giveUp(new Error(`no answer within ${connectTimeout} s`)), connectTimeout * 1000);
  const onAbort = (): void => giveUp(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  let abandoned = false;
  try {
    const made = connectArguments(url, options, `tq ${purpose}`)
      .then((args) => connect(args.connect, args.socket))
      .then((model) => {
        if (abandoned) {
          model.on("error", () => undefined);
          hangUp(model, new Error("nobody waits for this connection any more"));
        }
        return model;
      });
    made.catch(() => undefined);
    return new Link(await Promise.race([made, given]), displayUrl, options, onLost);
  } catch (error) {
    abandoned = true;
    if (signal?.aborted) throw signal.reason;
    if (error instanceof ImproperlyConfigured) throw error;
    throw connectFailed(displayUrl, error);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}
