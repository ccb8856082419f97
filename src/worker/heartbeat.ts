import { loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { Dispatcher, EventFields } from "../events/dispatcher.ts";
import { softwareInfo } from "../events/software.ts";
import type { Service } from "../util/service.ts";
import type { WorkerState } from "./state.ts";

export interface HeartbeatParts {
  readonly dispatcher: Dispatcher;
  readonly state: WorkerState;
  /** Seconds between two heartbeats; default 2. */
  readonly interval?: number;
  /** One was sent. */
  readonly onSent?: () => void;
}

/** Tells monitors and neighbours that this node is there, alive, and gone (protocol 12.3, inventory G78). */
export class Heartbeat implements Service {
  readonly name = "heartbeat";
  readonly #parts: HeartbeatParts;
  readonly #interval: number;
  readonly #stopping = new AbortController();
  #beating: Promise<void> | undefined;

  constructor(parts: HeartbeatParts) {
    this.#parts = parts;
    this.#interval = parts.interval ?? 2;
  }

  async start(): Promise<void> {
    this.#beating ??= this.#beat();
  }

  async stop(): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    this.#stopping.abort();
    await this.#beating;
    if (this.#beating !== undefined) this.#send("worker-offline");
  }

  /** After every connect: monitors may have missed the last one. */
  online(): void {
    this.#send("worker-online");
  }

  async #beat(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await sleep(this.#interval * 1000, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      this.#send("worker-heartbeat");
      this.#parts.onSent?.();
    }
  }

  #send(type: string): void {
    const { dispatcher, state } = this.#parts;
    dispatcher.send(type, heartbeatFields(this.#interval, state));
  }
}

export function heartbeatFields(freq: number, state: Pick<WorkerState, "active" | "processed">): EventFields {
  return {
    freq,
    active: state.active.size,
    processed: state.processed,
    loadavg: loadavg().map((load) => Math.round(load * 100) / 100),
    ...softwareInfo(),
  };
}
