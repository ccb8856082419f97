import type { ResultRecord } from "../backend/record.ts";
import type { HandOver } from "./hand-over.ts";

/**
 * How a task ended when its code ran to an end. `record` is the result still to be stored by
 * whoever receives the outcome: results of many children then reach the store in one step. It
 * is null when nothing is to be stored, or when it was already: a chord or an errback depends
 * on it, so the process that ran the task had to be sure of it first.
 */
export type Completed =
  | {
      readonly kind: "success";
      readonly runtime: number;
      readonly result: string;
      readonly record: ResultRecord | null;
      /** What follows, for whoever stores the record and ends the message to send. */
      readonly handOver?: HandOver;
    }
  | {
      readonly kind: "failure";
      readonly runtime: number;
      readonly repr: string;
      readonly traceback: string;
      /** One of the task's `throws`: no cause for alarm. */
      readonly expected: boolean;
      readonly record: ResultRecord | null;
      /** What follows, for whoever stores the record and ends the message to send. */
      readonly handOver?: HandOver;
    }
  | {
      readonly kind: "retry";
      readonly runtime: number;
      /** As `Retry in 1s: KeyError('x')`. */
      readonly repr: string;
      /** Why, as `KeyError('x')`; `None` when the task gave no reason. */
      readonly reason: string;
      readonly traceback: string;
      readonly record: ResultRecord | null;
      /** What follows, for whoever stores the record and ends the message to send. */
      readonly handOver?: HandOver;
    }
  | { readonly kind: "ignore"; readonly runtime: number }
  | { readonly kind: "reject"; readonly runtime: number; readonly requeue: boolean; readonly reason: string }
  /** It never began: the body could not be read, or the arguments do not fit. Nobody accepted it. */
  | {
      readonly kind: "invalid";
      readonly reason: string;
      /** The arguments do not fit, or the task is not known, in this version of the app: another may run it. */
      readonly misfit?: boolean;
      readonly record: ResultRecord | null;
    };

/** How a task ended when the pool ended it. Nobody has recorded it yet. */
export type Interrupted =
  | { readonly kind: "time-limit"; readonly seconds: number }
  | { readonly kind: "terminated"; readonly signal: NodeJS.Signals }
  | {
      readonly kind: "lost";
      readonly accepted: boolean;
      readonly exitCode: number | null;
      readonly signal: NodeJS.Signals | null;
      /** How many children died of it, in a row before it began or in all running it; left out when it may be tried again. */
      readonly deaths?: number;
      /** Bytes of resident memory its child had when it was last seen. */
      readonly memory?: number | null;
      /** Its child was killed because of another task in it: running it again is safer than for one that killed its child. */
      readonly bystander?: boolean;
    };

export type Outcome = Completed | Interrupted;
