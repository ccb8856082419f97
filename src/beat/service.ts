import { setTimeout as sleep } from "node:timers/promises";
import type { Tq } from "../app/app.ts";
import { toCamelCase } from "../config/names.ts";
import type { Settings } from "../config/settings.ts";
import { OperationalError, TqError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { backoff } from "../util/backoff.ts";
import type { Service } from "../util/service.ts";
import { createZone, type Zone } from "../util/zone.ts";
import { createEntry, type Entry } from "./entry.ts";
import { FileStore } from "./file-store.ts";
import { humanizeSeconds } from "./interval.ts";
import { advance, type SchedulerTerms, tick } from "./scheduler.ts";
import type { ScheduleStore } from "./store.ts";

/** Seconds between two looks at the schedule at most, when nothing says otherwise. */
const defaultMaxInterval = 300;

export interface BeatParts {
  readonly app: Tq;
  readonly logger: Logger;
  readonly store: ScheduleStore;
  readonly zone: Zone;
  readonly maxInterval: number;
  readonly now?: () => Date;
}

/** The parts of a beat by the settings of its app. */
export function beatParts(
  app: Tq,
  logger: Logger,
  given: { readonly schedule?: string | undefined; readonly maxInterval?: number | undefined },
): BeatParts {
  const { settings } = app.conf;
  const zone = createZone(zoneName(settings));
  const { enableUtc } = settings;
  const path = given.schedule ?? settings.beatScheduleFilename;
  return {
    app,
    logger,
    zone,
    store: new FileStore({ path, timezone: zone.name, enableUtc, logger }),
    maxInterval: given.maxInterval || settings.beatMaxLoopInterval || defaultMaxInterval,
  };
}

/** UTC unless told otherwise; without UTC, the clocks of this machine. */
function zoneName({ timezone, enableUtc }: Settings): string {
  return timezone ?? (enableUtc ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone);
}

/**
 * Sends each entry of the schedule when it is due: look, send, remember, sleep. An entry that cannot be sent for
 * want of a broker is tried until it can be; one that can never be sent is logged and has had its turn. What was
 * sent is written down at once, so that a restart sends nothing twice but what was sent in the very moment of a crash.
 */
export class BeatService implements Service {
  readonly name = "beat";
  readonly #parts: BeatParts;
  readonly #terms: SchedulerTerms;
  readonly #stop = new AbortController();
  #entries = new Map<string, Entry>();
  #unsaved = 0;
  #loop: Promise<void> | undefined;

  constructor(parts: BeatParts) {
    this.#parts = parts;
    this.#terms = {
      zone: parts.zone,
      maxInterval: parts.maxInterval,
      startingDeadline: parts.app.conf.settings.beatCronStartingDeadline,
    };
  }

  /** Takes hold of the schedule and begins. Rejects when another beat has it, or an entry is wrong. */
  async start(): Promise<void> {
    const { app, store, logger, maxInterval } = this.#parts;
    const now = this.#now();
    const histories = await store.open();
    try {
      for (const [name, given] of scheduleOf(app)) {
        this.#entries.set(name, createEntry(name, given, histories.get(name) ?? { lastRunAt: now, totalRunCount: 0 }));
      }
      // The first sight of an entry counts: its interval does not begin anew with every restart.
      await this.#save();
    } catch (error) {
      await store.close();
      throw error;
    }
    logger.debug("beat: Ticking with max interval->%s", humanizeSeconds(maxInterval));
    this.#loop = this.#run(this.#stop.signal);
  }

  /** Rejects with what ended the loop before it was told to stop. */
  get ended(): Promise<void> {
    return this.#loop ?? Promise.resolve();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#loop?.catch(() => undefined); // whoever waits for `ended` has it
    if (this.#unsaved > 0) await this.#save();
    await this.#parts.store.close();
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { logger } = this.#parts;
    while (!signal.aborted) {
      const { due, sleep: seconds } = tick(this.#entries.values(), this.#now(), this.#terms);
      for (const entry of due) await this.#send(entry, signal);
      if (this.#unsaved > 0 && this.#unsaved >= this.#parts.app.conf.settings.beatSyncEvery) await this.#save();
      if (due.length > 0) continue;
      logger.debug("beat: Waking up in %s.", humanizeSeconds(seconds));
      await sleep(seconds * 1_000, undefined, { signal }).catch(() => undefined); // told to stop
    }
  }

  async #send(entry: Entry, signal: AbortSignal): Promise<void> {
    const { app, logger } = this.#parts;
    logger.info("Scheduler: Sending due task %s (%s)", entry.name, entry.task);
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      try {
        const result = await app.sendTask(entry.task, entry.args.map(evaluate), callOptions(entry));
        logger.debug("%s sent. id->%s", entry.task, result.id);
        break;
      } catch (error) {
        if (!(error instanceof OperationalError)) {
          logger.error({ err: error }, "Message Error: Couldn't apply scheduled task %s", entry.name);
          break;
        }
        const seconds = backoff({ attempt, initial: 1, max: 30, jitter: 0.2 });
        logger.error("beat: Connection error: %s. Trying again in %s seconds...", error.message, seconds.toFixed(1));
        await sleep(seconds * 1_000, undefined, { signal }).catch(() => undefined); // told to stop
      }
    }
    if (signal.aborted) return;
    this.#entries.set(entry.name, advance(entry, this.#now()));
    this.#unsaved += 1;
  }

  async #save(): Promise<void> {
    try {
      await this.#parts.store.save(this.#entries);
      this.#unsaved = 0;
    } catch (error) {
      // A full disk stops no schedule; what ran is remembered in this process, and written with the next save.
      if (!(error instanceof TqError) || this.#loop === undefined) throw error;
      this.#parts.logger.error("%s", error.message);
    }
  }

  #now(): Date {
    return this.#parts.now?.() ?? new Date();
  }
}

/** The entries of the settings and those added by code, which win. */
function scheduleOf(app: Tq): ReadonlyMap<string, unknown> {
  const { settings } = app.conf;
  return new Map<string, unknown>([...Object.entries(settings.beatSchedule), ...app.periodicTasks]);
}

/** Celery's BeatLazyFunc: a function makes the value when it is sent. */
const evaluate = (given: unknown): unknown => (typeof given === "function" ? (given as () => unknown)() : given);

function callOptions({ options, kwargs }: Entry): Readonly<Record<string, unknown>> {
  const values = Object.fromEntries(Object.entries(kwargs).map(([key, value]) => [key, evaluate(value)]));
  const named = Object.fromEntries(Object.entries(options).map(([key, value]) => [toCamelCase(key), value]));
  return { ...named, kwargs: values };
}
