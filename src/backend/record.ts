/**
 * One result as a store keeps it: the meta already serialized by whoever ran the task, so that
 * it is encoded once and passes through the worker's parent untouched.
 */
export interface ResultRecord {
  readonly taskId: string;
  /** Repeated outside the body: a store must know it to guard SUCCESS. */
  readonly state: string;
  readonly contentType: string;
  readonly contentEncoding: string;
  /** The serialized meta: as text, or as base64 when `binary`. */
  readonly body: string;
  readonly binary: boolean;
  /** Where an rpc result goes; null when the caller asked for none. */
  readonly replyTo: string | null;
  readonly correlationId: string | null;
}
