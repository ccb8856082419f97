import type { Job } from "../../execution/job.ts";
import type { Completed } from "../../execution/outcome.ts";
import type { ProcessReport } from "../../system/process-report.ts";

/** What a member of a crew tells it. */
export interface MemberEvents {
  readonly onReady: () => void;
  /** It could not start, and says why; its exit follows. */
  readonly onFailed: (message: string) => void;
  readonly onAccepted: (seq: number) => void;
  readonly onDone: (seq: number, outcome: Completed) => void;
  /** The answer to `abandon`: from here on the run's end is of no account, unless it had ended already. */
  readonly onAbandoned: (seq: number, ended: boolean) => void;
  readonly onLog: (level: string, message: string, fields: Readonly<Record<string, unknown>>) => void;
  /** A line that did not come through the task's own streams: a program it started has printed it. */
  readonly onPrint: (line: string) => void;
  /** Once, when it and its pipes have ended: nothing comes after it. */
  readonly onExit: (exitCode: number | null, signal: NodeJS.Signals | null) => void;
}

/** One that runs jobs for a crew: a child process, or a thread. */
export interface Member {
  readonly pid: number;
  give(seq: number, job: Job): void;
  /**
   * Takes back what it was given and has not begun, the longest waiting first, at most so many; what
   * comes back it will never run, even if its event loop is blocked. Empty where a member begins
   * whatever it is given.
   */
  takeBack(most?: number): readonly number[];
  /** Asks a run to stop: its signal aborts, and its end counts no more. Answered by `onAbandoned`. */
  abandon(seq: number, reason: AbandonReason): void;
  /** Asks it what it is doing. Does not settle while its event loop is blocked, or when it has ended. */
  report(): Promise<ProcessReport>;
  /** The JavaScript that holds it (`runningStack`), also while its event loop is blocked; null when that cannot be told before `signal` aborts. */
  stack(signal: AbortSignal): Promise<readonly string[] | null>;
  /** It finishes what it has and leaves. */
  dismiss(): void;
  kill(signal: NodeJS.Signals): void;
  /** Bytes of resident memory; 0 where it has no memory of its own. */
  memory(): number;
}

export type AbandonReason = "time-limit" | "terminated";

/** Starts a member; never throws: one that cannot be started fails and exits. */
export type MemberMaker = (identity: { readonly index: number; readonly name: string }, events: MemberEvents) => Member;
