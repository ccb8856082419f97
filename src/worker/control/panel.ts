import type { Tq } from "../../app/app.ts";
import type { ControlCommand } from "../../control/command.ts";
import type { Dispatcher } from "../../events/dispatcher.ts";
import type { Logger } from "../../log.ts";
import type { Gossip } from "../gossip.ts";
import type { Revokes } from "../revokes.ts";

/** The narrow view of the worker that remote control commands get. */
export interface Panel {
  readonly app: Tq;
  readonly hostname: string;
  readonly logger: Logger;
  readonly revokes: Revokes;
  /** Switches task events; sends a heartbeat. */
  readonly dispatcher: Dispatcher;
  /** Settles elections; null when this worker does not listen to others. */
  readonly gossip: Gossip | null;
}

/** A command of this worker. */
export type WorkerCommand = ControlCommand<Panel>;

/** How a control command says that it did what it was told. */
export const ok = (value: unknown): { readonly ok: unknown } => ({ ok: value });

/** How a control command says why it did not. */
export const nok = (value: unknown): { readonly error: unknown } => ({ error: value });
