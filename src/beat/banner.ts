import { formatLocalTime } from "../log.ts";
import { humanizeSeconds } from "./interval.ts";

/** What beat's start-up text tells. */
export interface BeatBannerFacts {
  readonly now: Date;
  /** Broker as a URL, its password masked. */
  readonly broker: string;
  /** File of the schedule. */
  readonly schedule: string;
  readonly logfile: string | undefined;
  readonly loglevel: string;
  /** Seconds. */
  readonly maxInterval: number;
}

/** The text beat prints when it starts: Celery's (celery/apps/beat.py). Pure. */
export function beatBanner(facts: BeatBannerFacts): string {
  return [
    "__    -    ... __   -        _",
    `LocalTime -> ${formatLocalTime(facts.now)}`,
    "Configuration ->",
    `    . broker -> ${facts.broker}`,
    "    . loader -> tq.app.load",
    "    . scheduler -> celery.beat.PersistentScheduler",
    `    . db -> ${facts.schedule}`,
    `    . logfile -> ${facts.logfile ?? "[stderr]"}@%${facts.loglevel.toUpperCase()}`,
    `    . maxinterval -> ${humanizeSeconds(facts.maxInterval)} (${facts.maxInterval}s)`,
  ].join("\n");
}
