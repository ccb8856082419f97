import type { Broker } from "../broker/broker.ts";
import type { RedisDefaults } from "../config/url.ts";

/** What every result store is made with, complete: defaults were filled in by whoever read the settings. */
export interface BackendOptions {
  /** Seconds a result, a group or a chord is kept; null is for ever. */
  readonly expires: number | null;
  /** Name of the serializer for what the store itself writes: groups, chord parts. */
  readonly serializer: string;
  /** Content types a stored result may have; others are refused with `ContentDisallowed`. */
  readonly accept: ReadonlySet<string>;
  /** `result_backend_transport_options`: what only the store at hand understands. Unknown keys are ignored. */
  readonly transportOptions: Readonly<Record<string, unknown>>;
  /** The broker's URLs, in order: the rpc store lives there. */
  readonly brokerUrls: readonly string[];
  /** Whether rpc results survive a restart of the broker. */
  readonly persistent: boolean;
  /** Seconds one attempt to connect may take; 4 when left out. */
  readonly connectTimeout?: number;
  /** `redis_backend_use_ssl`: true, or TLS options under Python's or Node's names. */
  readonly useSsl?: boolean | Readonly<Record<string, unknown>>;
  /** What the URL of a Redis store may leave out: `redis_host` and the like. */
  readonly redisDefaults?: RedisDefaults;
  /** A broker of this process: a store on the same server may use its connections rather than make some. */
  readonly broker?: () => Broker | undefined;
}

/** The options a store gets when nothing was set: results are kept for a day and written as JSON. */
export const defaultBackendOptions: BackendOptions = {
  expires: 24 * 3600,
  serializer: "json",
  accept: new Set(["application/json"]),
  transportOptions: {},
  brokerUrls: [],
  persistent: false,
};
