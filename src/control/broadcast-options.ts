import type { Broker } from "../broker/broker.ts";

/** Whom a command is for, and how long answers are waited for. Left out: all workers, 1 second. */
export interface BroadcastOptions {
  /** Node names, or one. */
  readonly destination?: string | readonly string[];
  /** Seconds to wait for replies. */
  readonly timeout?: number;
  /** Most replies to wait for; default as many as there are destinations, else all that come in time. */
  readonly limit?: number;
  /** Told of each reply as it comes, `{<node>: value}`. */
  readonly callback?: (reply: Readonly<Record<string, unknown>>) => void;
  /** Which node names it is for. */
  readonly pattern?: string;
  /** How `pattern` is meant; default `glob`. */
  readonly matcher?: "glob" | "pcre";
  /** Wait for replies; else what is returned is empty and the command is on its way. Default false, as in Celery. */
  readonly reply?: boolean;
  /** A connected broker to use instead of the app's own. */
  readonly connection?: Broker;
  /** Ends the waiting early; what has come is returned. */
  readonly signal?: AbortSignal;
}
