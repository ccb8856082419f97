import { OperationalError } from "../../errors.ts";
import type { Address, Exchange } from "../broker.ts";
import type { Link } from "./link.ts";
import { ifExists } from "./topology.ts";

/** Milliseconds for which an exchange seen missing is not looked for again. */
const missingMs = 1_000;

/**
 * What is known of the exchanges on one link. Publishing to one that does not exist would close
 * the channel with everything under way in it, so a new name is looked for before its first use.
 */
export class KnownExchanges {
  readonly #link: Link;
  readonly #kinds = new Map<string, Exchange["type"] | null>();
  readonly #missingUntil = new Map<string, number>();

  constructor(link: Link) {
    this.#link = link;
  }

  /** It was declared just now. */
  learn({ name, type }: Exchange): void {
    this.#kinds.set(name, type);
    this.#missingUntil.delete(name);
  }

  /** One of them was not there any more. */
  forgetAll(): void {
    this.#kinds.clear();
  }

  /**
   * Whether a message sent this way must reach a queue: not by fanout and topic, where nobody need
   * listen. Null when such an exchange does not exist, and so nobody can be listening.
   * Rejects with `OperationalError` when a direct one does not.
   */
  mustArrive({ exchange, type }: Address): boolean | Promise<boolean | null> {
    if (exchange === "") return true;
    const known = this.#kinds.get(exchange);
    const kind = type ?? known ?? "direct";
    return known === undefined ? this.#lookFor(exchange, kind) : kind === "direct";
  }

  async #lookFor(exchange: string, kind: Exchange["type"]): Promise<boolean | null> {
    const isDirect = kind === "direct";
    if (!isDirect && (this.#missingUntil.get(exchange) ?? 0) > performance.now()) return null;
    const found = await ifExists(this.#link.control((channel) => channel.checkExchange(exchange)));
    if (found !== undefined) {
      if (!this.#kinds.has(exchange)) this.#kinds.set(exchange, null);
      return isDirect;
    }
    if (isDirect) {
      throw new OperationalError(
        `no exchange ${JSON.stringify(exchange)} exists on the broker, so the message was not taken: ` +
          "declare a queue on it first, or start a worker that consumes one",
      );
    }
    this.#missingUntil.set(exchange, performance.now() + missingMs);
    return null;
  }
}
