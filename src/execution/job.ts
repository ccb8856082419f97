import type { Address } from "../broker/broker.ts";
import type { TaskMessage } from "../protocol/task-message.ts";

/** One task to run, as plain data: safe to send to another process. Durations are seconds. */
export interface Job {
  readonly message: TaskMessage;
  readonly address: Address;
  readonly queue: string;
  readonly redelivered: boolean;
  readonly hostname: string;
  readonly timeLimit: number | null;
  readonly softTimeLimit: number | null;
  /** Runs where it was called, without a message having been sent. */
  readonly isEager?: boolean;
}
