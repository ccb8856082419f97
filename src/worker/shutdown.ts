/** How a worker is going down. Each kind waits for less than the one before it. */
export type ShutdownPhase = "running" | "warm" | "soft" | "cold" | "now";

export type StopSignal = "SIGTERM" | "SIGINT" | "SIGQUIT";

export interface ShutdownStep {
  readonly phase: ShutdownPhase;
  /** What to tell the operator; null when nothing changes. */
  readonly message: string | null;
  /** Code the process exits with, once this phase is through. */
  readonly exitCode: number;
}

/** What was set, and what there is to wait for. */
export interface ShutdownPolicy {
  /** TERM means what QUIT means (inventory G5). */
  readonly remapTerm: boolean;
  /** A cold shutdown is preceded by a soft one now: it has its seconds, and something to wait for (inventory G6). */
  readonly soft: boolean;
}

export const warmMessage = "worker: Warm shutdown (MainProcess)";
export const coldMessage = "worker: Cold shutdown (MainProcess)";
const againIsCold = "worker: Hitting Ctrl+C again will initiate cold shutdown, terminating all running tasks!";
const againTerminates = "worker: Hitting Ctrl+C again will terminate all running tasks!";
const waiting = "Waiting gracefully for cold shutdown to complete...";
const atOnce = "worker: Stopping at once";

/**
 * What a POSIX signal means for a worker in this phase (inventory G1 to G6, G13). Pure.
 * TERM always means warm, unless it is remapped to QUIT. QUIT means cold, after a soft shutdown
 * where that is wanted. INT climbs: warm, then what QUIT does, and in the end at once.
 */
export function onSignal(
  phase: ShutdownPhase,
  signal: StopSignal,
  exitCode: number,
  policy: ShutdownPolicy = { remapTerm: false, soft: false },
): ShutdownStep {
  if (signal === "SIGTERM" && !policy.remapTerm) return onTerm(phase, exitCode);
  const interrupted = signal === "SIGINT";
  switch (phase) {
    case "running":
      if (interrupted) return { phase: "warm", message: `${againIsCold}\n\n${warmMessage}`, exitCode: 1 };
      return goDown(policy, 0);
    case "warm":
      return goDown(policy, interrupted ? 1 : exitCode);
    case "soft":
      return { phase: "cold", message: `${waiting}\n\n${coldMessage}`, exitCode: interrupted ? 1 : exitCode };
    case "cold":
    case "now":
      return { phase: "now", message: atOnce, exitCode: 1 };
  }
}

/** Once a shutdown is under way TERM changes nothing: a warm one says so again. */
function onTerm(phase: ShutdownPhase, exitCode: number): ShutdownStep {
  if (phase === "running") return { phase: "warm", message: warmMessage, exitCode: 0 };
  return { phase, message: phase === "warm" ? warmMessage : null, exitCode };
}

function goDown({ soft }: ShutdownPolicy, exitCode: number): ShutdownStep {
  if (soft) return { phase: "soft", message: againTerminates, exitCode };
  return { phase: "cold", message: `${againTerminates}\n\n${coldMessage}`, exitCode };
}
