import type { Broker } from "../broker/broker.ts";
import type { Mailbox, NodeReply } from "../control/mailbox.ts";
import type { Logger } from "../log.ts";
import type { LamportClock } from "../protocol/clock.ts";
import { type Clocks, readRevoked, writeRevoked } from "../protocol/hello.ts";
import type { Service } from "../util/service.ts";
import type { Revokes } from "./revokes.ts";

export interface MingleParts {
  readonly broker: Broker;
  readonly mailbox: Mailbox;
  readonly hostname: string;
  readonly clock: LamportClock;
  readonly revokes: Revokes;
  readonly logger: Logger;
  /** Told of each neighbour that answers. */
  readonly onNeighbour: (node: string) => void;
}

/** Seconds neighbours have to answer, as in Celery. */
const patience = 1;

/**
 * Asks the other workers, once at the start, what is revoked and how far their clock is (protocol
 * 11.2). The start does not wait for them: what they tell is taken in when it comes.
 */
export class Mingle implements Service {
  readonly name = "mingle";
  readonly #parts: MingleParts;
  readonly #stopping = new AbortController();
  #asking: Promise<void> = Promise.resolve();

  constructor(parts: MingleParts) {
    this.#parts = parts;
  }

  async start(): Promise<void> {
    const { logger } = this.#parts;
    logger.info("mingle: searching for neighbors");
    this.#asking = this.#ask().catch((error: unknown) => logger.warn("mingle: %s", String(error)));
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#asking;
  }

  async #ask(): Promise<void> {
    const { broker, mailbox, hostname, revokes, logger, onNeighbour } = this.#parts;
    let neighbours = 0;
    const onReply = ({ node, value }: NodeReply): void => {
      // A node of our own name does not count: it is us.
      if (node === hostname) return;
      if (typeof value === "object" && value !== null && !("error" in value)) {
        neighbours += 1;
        onNeighbour(node);
      }
      this.#sync(node, value);
    };
    const hello = {
      method: "hello",
      arguments: { from_node: hostname, revoked: writeRevoked(revokes.record().ids, readClocks()) },
    };
    const { signal } = this.#stopping;
    await mailbox.call(broker, hello, { timeout: patience, signal, onReply });
    if (signal.aborted) return;
    if (neighbours === 0) return logger.info("mingle: all alone");
    logger.info("mingle: sync with %d nodes", neighbours);
    logger.info("mingle: sync complete");
  }

  #sync(node: string, value: unknown): void {
    const { clock, revokes, logger } = this.#parts;
    logger.debug("mingle: processing reply from %s", node);
    if (typeof value !== "object" || value === null) return;
    const { clock: theirs, revoked } = value as { readonly clock?: unknown; readonly revoked?: unknown };
    if (theirs) clock.adjust(theirs);
    else clock.forward();
    revokes.merge({ ids: readRevoked(revoked, readClocks(), revokes.expires), stamps: [] });
  }
}

/** The two clocks of now. Python's `time.monotonic` reads the same one on the same machine. */
export const readClocks = (): Clocks => ({
  now: Date.now() / 1000,
  monotonic: Number(process.hrtime.bigint()) / 1e9,
});
