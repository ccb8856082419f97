/** Monitoring events as they travel (protocol 12): one map, or a list of maps under `<group>.multi`. */

/** Hours west of UTC, as events give them: CET is -1, the opposite of ISO's sign. */
export const utcOffset = (date: Date): number => Math.floor(date.getTimezoneOffset() / 60);

/** One event. Every field of a worker's event becomes an attribute in Python monitors: add none. */
export interface Event {
  /** Node that sent it. */
  readonly hostname: string;
  readonly utcoffset: number;
  readonly pid: number;
  /** Lamport clock of the sender; absent or null from one that has none. */
  readonly clock?: number | null;
  /** Seconds since 1970. */
  readonly timestamp: number;
  /** As `task-received`. */
  readonly type: string;
  /** The id of the task, in every `task-` event. */
  readonly uuid?: string;
  readonly [field: string]: unknown;
}

/** An event as a receiver hands it over. */
export interface ReceivedEvent extends Event {
  readonly clock: number;
  /** When it came in, by the receiver's clock. */
  readonly local_received: number;
}

/** Who sends an event, and when. */
export interface Sender {
  readonly hostname: string;
  readonly pid: number;
  readonly now: Date;
  readonly clock: number;
}

/** The keys in the order Celery writes them. */
export function createEvent(type: string, fields: Readonly<Record<string, unknown>>, sender: Sender): Event {
  return {
    hostname: sender.hostname,
    utcoffset: utcOffset(sender.now),
    pid: sender.pid,
    clock: sender.clock,
    ...fields,
    timestamp: sender.now.getTime() / 1000,
    type,
  };
}

/** `task-received` belongs to `task`. */
export function groupOf(type: string): string {
  const dash = type.indexOf("-");
  return dash < 0 ? type : type.slice(0, dash);
}

/** `worker-elect-ack` travels as `worker.elect.ack`. */
export const eventRoutingKey = (type: string): string => type.replaceAll("-", ".");
