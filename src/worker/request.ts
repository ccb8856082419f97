import type { Delivery } from "../broker/broker.ts";
import type { Runner } from "../pool/pool.ts";
import type { TaskMessage } from "../protocol/task-message.ts";
import type { Task, TaskOptions } from "../task/task.ts";
import type { Settlement } from "./settle.ts";

/** Where a request is in its life. */
export type RequestPhase =
  | { readonly name: "received" }
  | { readonly name: "scheduled"; readonly due: Date }
  | { readonly name: "reserved" }
  | { readonly name: "active"; readonly runner: Runner; readonly since: Date }
  | { readonly name: "done"; readonly settlement: Settlement };

/** One received task message, from arrival to settlement. */
export interface Request {
  readonly id: string;
  /** The task's name, or the `shadow` it asked to be shown under. */
  readonly name: string;
  readonly task: Task;
  readonly message: TaskMessage;
  readonly delivery: Delivery;
  /** The task's options as they were when it was received: how it is run and acknowledged. */
  readonly policy: TaskOptions;
  readonly expires: Date | null;
  phase: RequestPhase;
  /** Sentenced while on its way to a child: stopped with this signal as soon as it begins. */
  terminateWith?: NodeJS.Signals;
}
