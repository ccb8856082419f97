import type { MemberReport, Runner } from "../pool/pool.ts";
import { describeProcess, type ProcessReport } from "../system/process-report.ts";

/** A task at work, and since when. */
export interface RunningTask {
  readonly name: string;
  readonly id: string;
  readonly runner: Runner;
  readonly since: Date;
}

export interface StatusFacts {
  readonly hostname: string;
  readonly pid: number;
  readonly phase: string;
  /** Milliseconds since it was started. */
  readonly upMs: number;
  readonly counts: { readonly reserved: number; readonly scheduled: number; readonly processed: number };
  /** The worker's own process. */
  readonly main: ProcessReport;
  readonly members: readonly MemberReport[];
  readonly running: readonly RunningTask[];
}

/**
 * What the worker and each of its children are doing, for people (inventory G10). One that does
 * not answer while it runs a task is held by that task's code: by the calls shown below it.
 */
export function statusReport(facts: StatusFacts, now: Date): string {
  const { hostname, pid, phase, upMs, counts, main, members, running } = facts;
  const lines = [
    `Report of ${hostname}: ${phase}, up ${seconds(upMs)}, ${running.length} active, ${counts.reserved} reserved, ${counts.scheduled} scheduled, ${counts.processed} begun since the start`,
    `MainProcess (pid ${pid}): ${describeProcess(main)}`,
    ...tasksOf("MainProcess", running, now),
  ];
  for (const member of members) {
    const { name, pid } = member.runner;
    lines.push(`${name} (pid ${pid}): ${describeMember(member, running)}`, ...tasksOf(name, running, now));
    if (member.stack) lines.push(...member.stack.map((frame) => `        ${frame}`));
  }
  return lines.join("\n");
}

function describeMember({ role, report, runner, stack }: MemberReport, running: readonly RunningTask[]): string {
  const isHeld = stack !== null || running.some(({ runner: { name } }) => name === runner.name);
  const what = report ? describeProcess(report) : `does not answer${isHeld ? ": blocked in synchronous code" : ""}`;
  return role === "works" ? what : `${role}; ${what}`;
}

function tasksOf(name: string, running: readonly RunningTask[], now: Date): string[] {
  return running
    .filter(({ runner }) => runner.name === name)
    .map((task) => `    ${task.name}[${task.id}] for ${seconds(now.getTime() - task.since.getTime())}`);
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
