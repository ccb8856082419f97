import type { Job } from "../../execution/job.ts";
import type { Outcome } from "../../execution/outcome.ts";
import type { MemberReport, PoolResult, Runner } from "../pool.ts";
import type { HardLimit } from "./hard-limit.ts";
import type { Member } from "./member.ts";

/** A job on its way through a crew. */
export interface Entry {
  readonly seq: number;
  readonly job: Job;
  readonly onAccepted: (runner: Runner) => void;
  readonly resolve: (result: PoolResult) => void;
  accepted: boolean;
  /** Members that died with this job in hand before it began. */
  deaths: number;
  limit: HardLimit | undefined;
  /** Runs while its member is asked to give it up. */
  answerTimer?: NodeJS.Timeout;
  /** How it is going to end, whatever its member still says. */
  ending: Outcome | undefined;
}

export type SlotState = "starting" | "ready" | "retiring" | "dead";

/** A member with what it has in hand. */
export class Slot {
  readonly name: string;
  readonly entries = new Map<number, Entry>();
  /** Runs whose jobs have ended for everybody else, and that still occupy the member. */
  readonly ghosts = new Set<number>();
  readonly bornAt = performance.now();
  state: SlotState = "starting";
  /** Ready for the day another one leaves, and given nothing until then. */
  spare = false;
  /** A successor has been started for it, or is about to be. */
  expectsEnd = false;
  /** It leaves with the last of its runs that have a future. */
  doomed = false;
  /** To be replaced by a restart. */
  stale = false;
  readyAt = 0;
  tasks = 0;
  /** Grows with everything it begins or ends: one that stands still while jobs wait behind it is stuck. */
  progress = 0;
  seenProgress = -1;
  /** Something long runs in it: it is given nothing until something in it moves. */
  stuck = false;
  /** Has begun nothing of what it was given for a while: it is given no more than it can begin at once. */
  slow = false;
  /** Its last task was over in a moment: what follows may already be in its hand. */
  brisk = false;
  /** Killed for the sake of one run; the others in it have done nothing wrong. */
  sacrificed = false;
  aliveTimer: NodeJS.Timeout | undefined;
  ghostTimer: NodeJS.Timeout | undefined;
  spareTimer: NodeJS.Timeout | undefined;
  failure: string | undefined;
  /** Given up because it was not ready in time. */
  late = false;
  #member: Member | undefined;
  readonly #settled: (() => void)[] = [];

  constructor(name: string) {
    this.name = name;
  }

  get member(): Member {
    return this.#member as Member;
  }

  set member(member: Member) {
    this.#member = member;
  }

  get runner(): Runner {
    return { pid: this.member.pid, name: this.name };
  }

  get role(): MemberReport["role"] {
    if (this.state === "starting") return "starting";
    if (this.state !== "ready") return "leaving";
    return this.spare ? "spare" : "works";
  }

  get occupied(): number {
    return this.entries.size + this.ghosts.size;
  }

  get living(): boolean {
    return !this.spare && (this.state === "starting" || this.state === "ready");
  }

  /** Whether anything it was given may not have begun. */
  get hasBacklog(): boolean {
    for (const entry of this.entries.values()) if (!entry.accepted) return true;
    return false;
  }

  /** What it runs, if that is one thing. */
  get onlyRunning(): Entry | undefined {
    const running = [...this.entries.values()].filter((entry) => entry.accepted);
    return running.length === 1 ? running[0] : undefined;
  }

  /** Resolves when it has become ready or has ended. */
  settled(): Promise<void> {
    return new Promise((resolve) => {
      if (this.state === "starting") this.#settled.push(resolve);
      else resolve();
    });
  }

  settle(): void {
    for (const resolve of this.#settled.splice(0)) resolve();
  }
}
