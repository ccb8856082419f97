import type { Tq } from "../../app/app.ts";
import type { Broker } from "../../broker/broker.ts";
import type { ControlCommand, ControlPanel } from "../../control/command.ts";
import type { Dispatcher } from "../../events/dispatcher.ts";
import type { Pool } from "../../pool/pool.ts";
import type { Consumer } from "../consumer.ts";
import type { WorkerOptions } from "../options.ts";
import type { RateLimits } from "../rate-limits.ts";
import type { Revocation } from "../revocation.ts";
import type { Revokes } from "../revokes.ts";
import type { WorkerState } from "../state.ts";
import type { MemorySamples } from "./memory-samples.ts";

/** Moves the number of children between two bounds. */
export interface Autoscale {
  /** Changes the bounds; says what they are then. */
  update(max: number | null, min: number | null): { readonly max: number; readonly min: number };
  info(): { readonly max: number; readonly min: number; readonly current: number; readonly qty: number };
}

/** The narrow view of the worker that remote control commands get. */
export interface Panel extends ControlPanel {
  readonly app: Tq;
  readonly broker: Pick<Broker, "parkedMessages">;
  readonly options: WorkerOptions;
  readonly state: WorkerState;
  readonly pool: Pool;
  readonly consumer: Consumer;
  readonly revokes: Revokes;
  readonly revocation: Revocation;
  readonly events: Pick<Dispatcher, "enable" | "disable" | "send">;
  readonly memory: MemorySamples;
  /** Content types whose arguments may be read to be shown. */
  readonly accept: ReadonlySet<string>;
  /** Tells the worker to stop, as TERM would. */
  readonly shutdown: () => void;
  /** Null unless started with `--autoscale`. */
  readonly autoscaler: Autoscale | null;
  /** The pool has another size: how much is fetched, and what may begin, follow it. */
  readonly onResized: () => void;
  readonly rateLimits: RateLimits;
  /** Stands for an election; null without gossip. */
  readonly elect: ((id: string, topic: string, action: unknown) => void) | null;
}

/** A command of this worker. */
export type WorkerCommand = ControlCommand<Panel>;

/** How a control command says that it did what it was told. */
export const ok = (value: unknown): { readonly ok: unknown } => ({ ok: value });

/** How a control command says why it did not. */
export const nok = (value: unknown): { readonly error: unknown } => ({ error: value });

/** What Python raises for a value that cannot be meant; it is replied by this name. */
export class ValueError extends Error {
  override readonly name = "ValueError";
}
