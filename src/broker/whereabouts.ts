/** Where the message of a task is that nobody has settled. */
export type Whereabouts =
  /** In a queue, for whoever takes it next. */
  | { readonly kind: "waiting"; readonly queue: string }
  /** Kept by the broker until it is due; then it waits again. */
  | { readonly kind: "parked"; readonly queue: string; readonly due: Date }
  /**
   * With a consumer that lives, or of which nobody can tell yet: unless it says that it lives or settles
   * the message, that goes back to its queue at `until`. Null where its process is seen to live.
   */
  | { readonly kind: "held"; readonly queue: string; readonly node: string | null; readonly until: Date | null }
  /**
   * With a consumer that is gone: goes back to its queue at `due`, give or take a second. Null while
   * nobody is there to put it back: the next consumer that comes does.
   */
  | { readonly kind: "orphaned"; readonly queue: string; readonly node: string | null; readonly due: Date | null }
  /** Among the dead letters, or on the shelf, under an id of its own. */
  | { readonly kind: "dead"; readonly queue: string; readonly letter: string };

export interface LocateOptions {
  /** Ids of tasks. */
  readonly ids: readonly string[];
  /** Queues to look through for what waits. What is held, parked or dead is found whichever queue it is of. */
  readonly queues: readonly string[];
}

/** What a broker can tell of them. */
export type Located =
  | {
      readonly kind: "located";
      /** By the task's id; those that are not in it are nowhere in this broker. */
      readonly places: ReadonlyMap<string, Whereabouts>;
      /** Queues in which more waits than `mostSearched`, so that what is not in `places` may be there. */
      readonly unsearched: readonly string[];
    }
  /** RabbitMQ shows no message without handing it over. */
  | { readonly kind: "untold" };

/** Waiting messages looked through for each queue. */
export const mostSearched = 100_000;
