import type { Broker } from "../broker/broker.ts";
import { readRevokes } from "../control/revoke-notes.ts";
import { BrokerConnectionError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { ConnectionUser } from "./connection.ts";
import type { Revokes } from "./revokes.ts";

/**
 * Reads what was revoked while this worker was not there to hear it, after every connect and
 * before the first task is taken. A broker that will not keep such notes is no reason not to work.
 */
export class RevokeCatchUp implements ConnectionUser {
  readonly #broker: Broker;
  readonly #revokes: Revokes;
  readonly #logger: Logger;

  constructor(broker: Broker, revokes: Revokes, logger: Logger) {
    this.#broker = broker;
    this.#revokes = revokes;
    this.#logger = logger;
  }

  async subscribe(): Promise<void> {
    try {
      this.#revokes.merge(await readRevokes(this.#broker));
    } catch (error) {
      if (error instanceof BrokerConnectionError) throw error;
      this.#logger.warn("what was revoked meanwhile cannot be read: %s", String(error));
    }
  }
}
