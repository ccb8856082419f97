import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";

/** Names one process for good, so that others can tell whether it is still there. */
export interface ProcessIdentity {
  /** The running system and the space its process ids belong to: only there does `pid` mean something. */
  readonly machine: string;
  readonly pid: number;
  /** When it started, as the system counts; empty where the system does not tell. */
  readonly started: string;
}

/** This process. */
export function thisProcess(): ProcessIdentity {
  return identityOf(process.pid);
}

/** A process of this machine, as it is now. */
export function identityOf(pid: number): ProcessIdentity {
  return { machine: thisMachine(), pid, started: startOf(pid) ?? "" };
}

/** Whether a process seen here is still there; one whose id another has taken over is not. Needs no permission. */
export function isGone({ pid, started }: ProcessIdentity): boolean {
  const now = startOf(pid);
  if (started !== "") return now !== started;
  try {
    process.kill(pid, 0);
    // A system that tells when processes start would have told; this one had ended already.
    return startOf(process.pid) !== undefined && now === undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}

/**
 * Whether that process is there: "dead" and "alive" are certain, as a process id taken over by
 * another process is seen. "unknown" when it belongs to another machine or container, or when
 * the system does not say when its processes started.
 */
export function livenessOf(identity: ProcessIdentity, here: ProcessIdentity): "alive" | "dead" | "unknown" {
  if (identity.machine !== here.machine) return "unknown";
  try {
    process.kill(identity.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH" ? "dead" : "unknown";
  }
  if (identity.started === "") return "unknown";
  const started = startOf(identity.pid);
  return started === identity.started ? "alive" : "dead";
}

/** The space of process ids Linux begins with: of a container its processes are in another one. */
const firstSpace = "/pid:[4026531836]";

/** Whether all processes that can be met on this system can tell that this one lives: it is in no container. */
export function isInSight({ machine, started }: ProcessIdentity): boolean {
  return started !== "" && machine.endsWith(firstSpace);
}

function thisMachine(): string {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return `${boot}/${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    return hostname();
  }
}

/** Field 22 of the process's stat, counted after the name, which may have blanks. A zombie has ended. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
