import { parseRate } from "../config/parse.ts";
import { ImproperlyConfigured } from "../errors.ts";
import type { TaskRegistry } from "../task/registry.ts";
import { longestTimerMs } from "../util/longest-timer.ts";
import { TokenBucket } from "../util/token-bucket.ts";
import type { Request } from "./request.ts";
import type { WorkerState } from "./state.ts";

export interface RateLimitsParts {
  readonly registry: TaskRegistry;
  /** `workerDisableRateLimits`. */
  readonly disabled: boolean;
  readonly state: WorkerState;
  /** Most requests of one task kept in hand while they wait: a share of the prefetch window. */
  readonly mostHeld: () => number;
  /** A request whose turn it is. */
  readonly proceed: (request: Request) => void;
  readonly onSettleError: (error: unknown) => void;
  /** Clock in seconds that never goes back. */
  readonly now?: () => number;
}

/** Seconds of the longest wait in hand; what has to wait longer waits in the broker. */
const longestHeld = 1;
/** Seconds after which what waits in the broker is looked at anew: a limit may have been raised meanwhile. */
const longestParked = 30;
/** Most parked requests whose place in line is remembered. */
const mostPlaces = 100_000;

/** The line of one limited task. Times are readings of the clock. */
interface Lane {
  /** Tokens per second. */
  readonly rate: number;
  readonly bucket: TokenBucket;
  /** In hand, in their order. */
  held: Request[];
  timer: NodeJS.Timeout | undefined;
  /** Places in line of what waits in the broker, by task id, in their order. */
  readonly places: Map<string, number>;
  /** When the last in line has its turn. */
  end: number;
}

/**
 * Lets each task type begin as often as its rate limit says (inventory G57 to G62), counted per
 * worker, evenly: a bucket of one token. What is over the limit waits without holding up others: a
 * few in hand for a moment, the rest in the broker, where they take no room in the prefetch window.
 */
export class RateLimits {
  readonly #parts: RateLimitsParts;
  readonly #now: () => number;
  /** Null for a task without a limit. */
  readonly #lanes = new Map<string, Lane | null>();
  /** Limits set at run time, which are stronger than those of the tasks' options. */
  readonly #changed = new Map<string, string | number | null>();

  constructor(parts: RateLimitsParts) {
    this.#parts = parts;
    this.#now = parts.now ?? (() => performance.now() / 1000);
  }

  /** Passes the request on, now or when its turn comes. */
  admit(request: Request): void {
    const lane = this.#laneOf(request);
    if (lane === null) return this.#parts.proceed(request);
    if (lane.held.length === 0 && lane.bucket.take()) {
      lane.places.delete(request.id);
      return this.#parts.proceed(request);
    }
    this.#wait(lane, request);
  }

  /** Limits a task from now on; null, 0 and an empty text lift the limit. False for a task nobody knows. */
  setRateLimit(taskName: string, limit: string | number | null): boolean {
    if (parseRate(limit) === undefined) {
      throw new ImproperlyConfigured(
        `a rate limit must be a number per second, or a text such as 10/s, 100/m, 5/h, got: ${JSON.stringify(limit)}`,
      );
    }
    if (!this.#parts.registry.get(taskName)) return false;
    this.#changed.set(taskName, limit);
    const lane = this.#lanes.get(taskName);
    this.#lanes.delete(taskName);
    if (lane) {
      clearTimeout(lane.timer);
      for (const request of lane.held) this.#leave(request);
      for (const request of lane.held) this.admit(request);
    }
    return true;
  }

  /** The limit in force, as it was written; null for none. */
  rateLimit(taskName: string): string | number | null {
    const changed = this.#changed.get(taskName);
    return changed !== undefined ? changed : (this.#parts.registry.get(taskName)?.options.rateLimit ?? null);
  }

  /** Waits with nothing more; these are to be given back. */
  stop(): readonly Request[] {
    const waiting: Request[] = [];
    for (const lane of this.#lanes.values()) {
      if (lane === null) continue;
      clearTimeout(lane.timer);
      waiting.push(...lane.held.splice(0));
    }
    for (const request of waiting) this.#leave(request);
    return waiting;
  }

  /** Forgets what the broker took back: it comes again. */
  dropLost(): void {
    for (const lane of this.#lanes.values()) {
      if (!lane) continue;
      for (const request of lane.held) if (request.delivery.lost) this.#leave(request);
      lane.held = lane.held.filter(({ delivery }) => !delivery.lost);
    }
  }

  #laneOf({ task }: Request): Lane | null {
    const known = this.#lanes.get(task.name);
    if (known !== undefined) return known;
    const rate = this.#parts.disabled ? null : (parseRate(this.rateLimit(task.name)) ?? null);
    const lane: Lane | null =
      rate === null
        ? null
        : {
            rate,
            bucket: new TokenBucket({ rate, now: this.#now }),
            held: [],
            timer: undefined,
            places: new Map(),
            end: 0,
          };
    this.#lanes.set(task.name, lane);
    return lane;
  }

  #wait(lane: Lane, request: Request): void {
    const now = this.#now();
    const inHand = lane.bucket.secondsUntil() + lane.held.length / lane.rate;
    // Whoever has a place is not sent behind those that came after it.
    const place = lane.places.get(request.id);
    const isNext = place === undefined ? lane.places.size === 0 || lane.end <= now + inHand : place <= now + inHand;
    if (isNext && inHand <= longestHeld && lane.held.length < this.#parts.mostHeld()) {
      lane.places.delete(request.id);
      return this.#hold(lane, request);
    }
    this.#park(lane, request, Math.max(place ?? Math.max(lane.end, now + inHand) + 1 / lane.rate, now + 1 / lane.rate));
  }

  #hold(lane: Lane, request: Request): void {
    lane.held.push(request);
    request.phase = { name: "reserved" };
    this.#parts.state.reserved.add(request);
    this.#arm(lane);
  }

  #park(lane: Lane, request: Request, place: number): void {
    const wait = Math.min(place - this.#now(), longestParked);
    lane.end = Math.max(lane.end, place);
    lane.places.set(request.id, place);
    if (lane.places.size > mostPlaces) lane.places.delete(lane.places.keys().next().value as string);
    request.delivery.park(new Date(Date.now() + wait * 1000)).catch(this.#parts.onSettleError);
  }

  #arm(lane: Lane): void {
    if (lane.timer !== undefined || lane.held.length === 0) return;
    const waitMs = Math.min(Math.ceil(lane.bucket.secondsUntil() * 1000), longestTimerMs);
    lane.timer = setTimeout(() => {
      lane.timer = undefined;
      while (lane.held.length > 0 && lane.bucket.take()) {
        const request = lane.held.shift() as Request;
        this.#leave(request);
        this.#parts.proceed(request);
      }
      this.#arm(lane);
    }, waitMs);
  }

  #leave(request: Request): void {
    this.#parts.state.reserved.delete(request);
  }
}
