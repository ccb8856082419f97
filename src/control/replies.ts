/** What workers answer (protocol 10.3): the wire's own keys, from tq and Celery alike. */

/** Of a control command. */
export type ControlReply = { readonly ok: unknown } | { readonly error: unknown };

/** A task in a worker's hands. */
export interface TaskInfo {
  readonly id: string;
  readonly name: string;
  /** The arguments, or their Python representation where `safe` was asked for or they cannot be read. */
  readonly args: readonly unknown[] | string;
  readonly kwargs: Readonly<Record<string, unknown>> | string;
  readonly type: string;
  readonly hostname: string;
  /** Seconds since 1970; null before it runs. */
  readonly time_start: number | null;
  readonly acknowledged: boolean;
  readonly delivery_info: {
    readonly exchange: string;
    readonly routing_key: string;
    readonly priority: number | null;
    readonly redelivered: boolean | null;
  };
  readonly worker_pid: number | null;
}

export interface ScheduledTask {
  /** ISO 8601. */
  readonly eta: string | null;
  readonly priority: number;
  readonly request: TaskInfo;
}

/** A queue a worker consumes. */
export interface QueueInfo {
  readonly name: string;
  readonly exchange: {
    readonly name: string;
    readonly type: string;
    readonly arguments: Readonly<Record<string, unknown>> | null;
    readonly durable: boolean;
    readonly passive: boolean;
    readonly auto_delete: boolean;
    readonly delivery_mode: number | string | null;
    readonly no_declare: boolean;
  };
  readonly routing_key: string;
  readonly queue_arguments: Readonly<Record<string, unknown>> | null;
  readonly binding_arguments: Readonly<Record<string, unknown>> | null;
  readonly consumer_arguments: Readonly<Record<string, unknown>> | null;
  readonly durable: boolean;
  readonly exclusive: boolean;
  readonly auto_delete: boolean;
  readonly no_ack: boolean;
  readonly alias: string | null;
  readonly bindings: readonly unknown[];
  readonly no_declare: boolean | null;
  readonly expires: number | null;
  readonly message_ttl: number | null;
  readonly max_length: number | null;
  readonly max_length_bytes: number | null;
  readonly max_priority: number | null;
}

export interface WorkerStats {
  /** Tasks begun since the start, by name. */
  readonly total: Readonly<Record<string, number>>;
  readonly pid: number;
  readonly clock: string;
  /** Seconds. */
  readonly uptime: number;
  readonly pool: Readonly<Record<string, unknown>>;
  readonly broker: Readonly<Record<string, unknown>>;
  readonly prefetch_count: number;
  readonly rusage: Readonly<Record<string, number>> | string;
  readonly autoscaler?: { readonly max: number; readonly min: number; readonly current: number; readonly qty: number };
}

/** `ready` is what a worker knows of and has neither reserved nor begun. */
export type TaskWhereabouts = readonly [state: "active" | "reserved" | "scheduled" | "ready", task: TaskInfo];

export interface Hello {
  readonly revoked: Readonly<Record<string, readonly [at: number, id: string]>>;
  readonly clock: number;
}
