/** A short text left for whoever comes later. */
export interface Note {
  readonly text: string;
  readonly at: Date;
}

/**
 * Short texts that outlive whoever wrote them, for a while: what a worker should know that was not
 * there when it was said. Bounded in age and number. Reading takes nothing away; any number of
 * processes may read at once, and each sees all. Rejects with `BrokerConnectionError` when the
 * connection is lost, with `OperationalError` when the broker will not keep them.
 */
export interface Notes {
  /** Keeps these texts; one that is there already becomes young again. Resolves when they survive a crash of this process. */
  write(texts: readonly string[]): Promise<void>;
  /** What has not expired, oldest first, each text once, with the time at which it was last written. */
  read(): Promise<readonly Note[]>;
}

/** Seconds a note is kept: as long as Celery's workers remember a revoke. */
export const noteLifetime = 10_800;

/** Most notes kept; the oldest make room. */
export const mostNotes = 50_000;
