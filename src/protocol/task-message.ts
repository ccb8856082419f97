import type { Message } from "./message.ts";
import type { SignatureDict } from "./signature.ts";

/** Headers of task protocol 2: all the parent ever needs to know about a task (protocol 1.1). */
export interface TaskHeaders {
  readonly lang: string;
  readonly task: string;
  readonly id: string;
  readonly shadow: string | null;
  readonly eta: string | null;
  readonly expires: string | null;
  readonly group: string | null;
  readonly group_index: number | null;
  readonly retries: number;
  readonly timelimit: readonly [hard: number | null, soft: number | null];
  readonly root_id: string | null;
  readonly parent_id: string | null;
  readonly argsrepr: string;
  readonly kwargsrepr: string;
  readonly origin: string;
  /** Null: the definition of the task decides (protocol 5.5). */
  readonly ignore_result: boolean | null;
  readonly replaced_task_nesting: number;
  readonly stamped_headers: readonly string[] | null;
  readonly stamps: Readonly<Record<string, unknown>>;
}

/** What travels in the body beside args and kwargs: what to do when the task ends. */
export interface Embed {
  readonly callbacks: readonly SignatureDict[] | null;
  readonly errbacks: readonly SignatureDict[] | null;
  /** The steps left, in reverse: the next one is last. */
  readonly chain: readonly SignatureDict[] | null;
  readonly chord: SignatureDict | null;
}

export type TaskBody = readonly [args: readonly unknown[], kwargs: Readonly<Record<string, unknown>>, embed: Embed];

/** A task message: headers read, body still as it came off the wire. */
export interface TaskMessage extends Message {
  readonly headers: TaskHeaders & Readonly<Record<string, unknown>>;
}
