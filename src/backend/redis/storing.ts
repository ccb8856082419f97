import type { RedisCommands } from "../../broker/redis/commands.ts";
import { type Deferred, deferred } from "../../broker/redis/deferred.ts";
import { type HandfulLimits, handful } from "../../util/handfuls.ts";
import type { RedisLink } from "./link.ts";
import { storeScript } from "./scripts.ts";

/** Results and bytes one script call carries. */
const atOnce: HandfulLimits<Waiting> = { count: 200, size: 1 << 20, sizeOf: ({ value }) => value.length };
/** Calls under way before results wait to travel together. */
const callsAtOnce = 2;
/**
 * Milliseconds after a call in which results gather for the next one. A result that comes alone
 * leaves at once; at ten thousand a second, ten leave together, for the price of one write.
 */
const gatherMs = 0.5;

interface Waiting {
  readonly key: string;
  readonly value: string | Buffer;
  readonly done: Deferred<void>;
}

/**
 * Stores results, those of one tick in one script call; while calls are under way, what comes
 * meanwhile gathers for the next.
 */
export class Storing {
  readonly #link: RedisLink<RedisCommands>;
  readonly #seconds: number;
  #waiting: Waiting[] = [];
  #scheduled = false;
  #underWay = 0;
  #sentAtMs = Number.NEGATIVE_INFINITY;

  /** `seconds` a result is kept; 0 is for ever. */
  constructor(link: RedisLink<RedisCommands>, seconds: number) {
    this.#link = link;
    this.#seconds = seconds;
  }

  store(key: string, value: string | Buffer): Promise<void> {
    const done = deferred<void>();
    this.#waiting.push({ key, value, done });
    this.#schedule();
    return done.promise;
  }

  #schedule(): void {
    if (this.#scheduled || this.#underWay >= callsAtOnce) return;
    this.#scheduled = true;
    if (performance.now() - this.#sentAtMs > gatherMs) process.nextTick(this.#sendWaiting);
    else setTimeout(this.#sendWaiting, 1);
  }

  readonly #sendWaiting = (): void => {
    this.#scheduled = false;
    this.#sentAtMs = performance.now();
    while (this.#waiting.length > 0 && this.#underWay < callsAtOnce)
      this.#send(this.#waiting.splice(0, handful(this.#waiting, atOnce)));
  };

  #send(batch: Waiting[]): void {
    this.#underWay += 1;
    const keys = batch.map(({ key }) => key);
    const args = [this.#seconds, ...batch.map(({ value }) => value)];
    this.#link
      .use((connection) => connection.run(storeScript, keys, args))
      .then(
        () => {
          for (const { done } of batch) done.resolve();
        },
        (error: unknown) => {
          for (const { done } of batch) done.reject(error);
        },
      )
      .finally(() => {
        this.#underWay -= 1;
        if (this.#waiting.length > 0) this.#schedule();
      });
  }
}
