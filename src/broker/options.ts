import type { FailoverOrder } from "../config/policies.ts";

/** What a broker wants logged: one event per call, fields first. A pino logger fits. */
export interface BrokerLog {
  debug(fields: object, event: string): void;
  info(fields: object, event: string): void;
  warn(fields: object, event: string): void;
  error(fields: object, event: string): void;
}

/** What every transport is made with, complete: defaults were filled in by whoever read the settings. */
export interface BrokerOptions {
  /** `broker_transport_options`: what only the transport at hand understands. Unknown keys are ignored. */
  readonly transportOptions: Readonly<Record<string, unknown>>;
  /** Seconds one attempt to connect may take. */
  readonly connectTimeout: number;
  /** Seconds between AMQP heartbeats; 0 is none. Left out, the transport's own choice. */
  readonly heartbeat?: number;
  /** Bytes. A delivery whose body is larger is marked as damaged, and nothing of it is decoded. */
  readonly maxBodySize: number;
  /** `broker_use_ssl`: true, or TLS options under Python's or Node's names. */
  readonly useSsl?: boolean | Readonly<Record<string, unknown>>;
  /** Which URL comes next when there are several; `round-robin` by default. */
  readonly failoverStrategy?: "round-robin" | "shuffle" | FailoverOrder;
  /** RabbitMQ: queues that take only per-consumer prefetch counts get those. Default true. */
  readonly detectQuorumQueues?: boolean;
  /** Most dead letters kept, the oldest make room; 0 is no bound. Default 100,000. */
  readonly mostDeadLetters?: number;
  /**
   * Tasks run in this very process and may block its event loop: who consumes here stays alive for
   * others all the same. Default false.
   */
  readonly mayBlock?: boolean;
  readonly logger?: BrokerLog;
}

/** Most dead letters kept unless the options say otherwise. The shelf has no such bound: nothing of it is given up. */
export const mostDeadLetters = 100_000;

/** The options a broker gets when nothing was set: 4 seconds to connect, bodies up to 128 MiB. */
export const defaultBrokerOptions: BrokerOptions = {
  transportOptions: {},
  connectTimeout: 4,
  maxBodySize: 128 * 1024 * 1024,
};
