import type { Broker } from "../../broker/broker.ts";
import { controlAddresses } from "../../control/addresses.ts";
import { Mailbox } from "../../control/mailbox.ts";
import { loadSerializer } from "../../serialization/registry.ts";
import type { Service } from "../../util/service.ts";
import type { ConnectionUser } from "../connection.ts";
import { Mingle } from "../mingle.ts";
import type { WorkerOptions } from "../options.ts";
import { ControlMailbox } from "./mailbox.ts";
import type { Panel } from "./panel.ts";
import { commandRegistry } from "./registry.ts";

/** The part of a worker that others steer it by. */
export interface Control {
  /** Subscribe after each connect. */
  readonly users: readonly ConnectionUser[];
  /** Stopped when the pool has drained. */
  readonly services: readonly Service[];
}

/** Mailbox and mingle, as far as the settings and the command line want them. */
export function createControl({
  panel,
  broker,
  options,
  onNeighbour,
}: {
  readonly panel: Panel;
  readonly broker: Broker;
  readonly options: WorkerOptions;
  /** Told of each neighbour that answers at the start. */
  readonly onNeighbour: (node: string) => void;
}): Control {
  const { app, hostname, logger, revokes, accept } = panel;
  const { settings } = app.conf;
  if (!settings.workerEnableRemoteControl) return { users: [], services: [] };
  const addresses = controlAddresses(settings);
  const serializer = settings.taskSerializer;
  loadSerializer(serializer).catch(() => undefined); // told by whoever needs it first
  const control = new ControlMailbox({
    broker,
    addresses,
    registry: commandRegistry(app.controlCommands),
    panel,
    serializer,
    accept,
    logger,
  });
  const mailbox = new Mailbox({ addresses, node: hostname, serializer, accept });
  const mingle = new Mingle({ broker, mailbox, hostname, clock: app.clock, revokes, logger, onNeighbour });
  return { users: [control], services: options.withoutMingle ? [control] : [control, mingle] };
}
