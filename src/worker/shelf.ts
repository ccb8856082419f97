import type { Broker, DeadLetter } from "../broker/broker.ts";
import type { Logger } from "../log.ts";
import { LimitedSet } from "../util/limited-set.ts";
import type { Service } from "../util/service.ts";

export interface ShelfParts {
  readonly broker: Broker;
  /** Whether a task of this name can be run here. */
  readonly knows: (taskName: string) => boolean;
  /** Names of the queues consumed here: what is fetched must come here, not to whoever could not run it. */
  readonly queues: () => readonly string[];
  readonly logger: Logger;
}

/** Seconds between two looks. */
const lookEvery = 10;
/** Every so many looks the whole shelf is read, even if as much lies there as before. */
const looksPerReading = 6;
const pageSize = 500;
const mostRead = 20_000;

/**
 * Fetches from the shelf what this worker can run and others could not, as in the middle of a
 * rolling deployment: at the start and every ten seconds. What it put there itself it leaves to others.
 */
export class Shelf implements Service {
  readonly name = "shelf";
  readonly #parts: ShelfParts;
  /** Ids of tasks whose arguments do not fit here. */
  readonly #mine = new LimitedSet({ maxSize: 100_000, expires: 86_400, now: () => performance.now() / 1000 });
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #stopped = true;
  #looks = 0;
  #count = 0;

  constructor(parts: ShelfParts) {
    this.#parts = parts;
  }

  /** This worker cannot run the task, though it knows its name. */
  disown(taskId: string): void {
    this.#mine.add(taskId);
  }

  async start(): Promise<void> {
    this.#stopped = false;
    this.#next(0);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#looking;
  }

  #next(waitMs: number): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#looking = this.#look()
        // The broker is away: whoever keeps the connection says so.
        .catch((error: unknown) => this.#parts.logger.debug("the shelf cannot be read: %s", String(error)))
        .finally(() => this.#next(lookEvery * 1000 * (0.8 + 0.4 * Math.random())));
    }, waitMs);
  }

  async #look(): Promise<void> {
    const { shelf } = this.#parts.broker;
    const count = await shelf.count();
    const isNews = count !== this.#count || this.#looks % looksPerReading === 0;
    this.#looks += 1;
    this.#count = count;
    if (count === 0 || !isNews) return;
    const wanted: string[] = [];
    const queues = new Set(this.#parts.queues());
    for (let offset = 0; offset < Math.min(count, mostRead); offset += pageSize) {
      const page = await shelf.list({ limit: pageSize, offset });
      wanted.push(...page.filter((letter) => this.#wants(letter, queues)).map(({ id }) => id));
      if (page.length < pageSize) break;
    }
    if (wanted.length === 0) return;
    // Listed newest first; the oldest goes first.
    const fetched = await shelf.redrive(wanted.reverse());
    this.#count -= fetched;
    this.#parts.logger.info("Fetched %d messages from the shelf that nobody could run before", fetched);
  }

  #wants({ message, queue }: DeadLetter, queues: ReadonlySet<string>): boolean {
    const { task, id } = message?.headers ?? {};
    return (
      typeof task === "string" &&
      typeof id === "string" &&
      queues.has(queue) &&
      this.#parts.knows(task) &&
      !this.#mine.has(id)
    );
  }
}
