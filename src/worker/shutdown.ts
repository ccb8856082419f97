/** How a worker is going down. Each kind waits for less than the one before it. */
export type ShutdownPhase = "running" | "warm" | "cold" | "now";

export interface ShutdownStep {
  readonly phase: ShutdownPhase;
  /** What to tell the operator; null when nothing changes. */
  readonly message: string | null;
  /** Code the process exits with, once this phase is through. */
  readonly exitCode: number;
}

/**
 * What a POSIX signal means for a worker in this phase (inventory G1 to G5, G13). Pure.
 * TERM always means warm; the ladder of INT is warm, cold, at once; QUIT is cold.
 */
export function onSignal(
  phase: ShutdownPhase,
  signal: "SIGTERM" | "SIGINT" | "SIGQUIT",
  exitCode: number,
): ShutdownStep {
  if (signal === "SIGTERM") {
    if (phase !== "running") return { phase, message: "worker: Warm shutdown (MainProcess)", exitCode };
    return { phase: "warm", message: "worker: Warm shutdown (MainProcess)", exitCode: 0 };
  }
  if (signal === "SIGQUIT") {
    if (phase === "cold" || phase === "now") return { phase: "now", message: "worker: Stopping at once", exitCode: 1 };
    return {
      phase: "cold",
      message: "worker: Cold shutdown (MainProcess)",
      exitCode: phase === "running" ? 0 : exitCode,
    };
  }
  switch (phase) {
    case "running":
      return {
        phase: "warm",
        message:
          "worker: Hitting Ctrl+C again will initiate cold shutdown, terminating all running tasks!\n\nworker: Warm shutdown (MainProcess)",
        exitCode: 1,
      };
    case "warm":
      return { phase: "cold", message: "worker: Cold shutdown (MainProcess)", exitCode: 1 };
    case "cold":
    case "now":
      return { phase: "now", message: "worker: Stopping at once", exitCode: 1 };
  }
}
