import { type StampedHeaders, stampsOf } from "../control/revoke-notes.ts";
import type { Logger } from "../log.ts";
import type { Pool } from "../pool/pool.ts";
import { signalNumber } from "../system/posix-signals.ts";
import type { Signals } from "../task/signals.ts";
import { pythonRepr } from "../util/repr.ts";
import type { Interrupted } from "./interrupted.ts";
import type { Request } from "./request.ts";
import type { Revokes } from "./revokes.ts";
import type { WorkerState } from "./state.ts";
import type { TaskWatcher } from "./task-events.ts";

export interface RevocationParts {
  readonly revokes: Revokes;
  readonly state: WorkerState;
  readonly pool: Pick<Pool, "terminate">;
  readonly interrupted: Interrupted;
  readonly logger: Logger;
  readonly signals: Signals;
  readonly events: TaskWatcher;
  readonly onSettleError: (error: unknown) => void;
}

/** Why a task is not run, in the words its result says it with. */
export type RevokeReason = "expired" | "revoked";

/**
 * Keeps revoked and expired tasks from running, and stops those that do: what the remote control
 * calls, and the one question asked of every task on arrival, after every wait, and once more
 * before it goes to the pool (protocol 5.1, inventory G66 to G72).
 */
export class Revocation {
  readonly #parts: RevocationParts;

  constructor(parts: RevocationParts) {
    this.#parts = parts;
  }

  /**
   * True when the task must not run; it is then over: recorded as REVOKED, acknowledged, logged
   * and signalled, once.
   */
  stops(request: Request): boolean {
    if (request.phase.name === "done") return true;
    const { revokes, logger } = this.#parts;
    const expired = request.expires !== null && request.expires.getTime() < Date.now();
    const by = revokes.find(request.message.headers);
    if (!expired && by === null) return false;
    const header = by?.kind === "header" ? ` (revoked by header: ${pythonRepr({ [by.header]: by.value })})` : "";
    logger.info("Discarding revoked task: %s[%s]%s", request.name, request.id, header);
    this.#discard(request, expired ? "expired" : "revoked");
    return true;
  }

  /** Whether the task has been revoked. */
  concerns(request: Request): boolean {
    return this.#parts.revokes.find(request.message.headers) !== null;
  }

  /**
   * Revokes tasks by id: they are marked, and shown as REVOKED at once, even when nobody here
   * knows them (protocol 10.4). Resolves when that is stored or could not be.
   */
  async revoke(ids: Iterable<string>): Promise<void> {
    const all = [...new Set(ids)];
    this.#parts.logger.info("Tasks flagged as revoked: %s", all.join(", "));
    this.#parts.revokes.revoke(all);
    await this.#show(all);
  }

  /** Revokes tasks by id and stops those in hand with a signal; resolves to the ids of these. */
  async terminate(ids: Iterable<string>, signal: NodeJS.Signals = "SIGTERM"): Promise<string[]> {
    const all = new Set(ids);
    // What has not begun is over as soon as it is revoked.
    const inHand = [...this.#parts.state.requests()].filter(({ id }) => all.has(id));
    this.#parts.revokes.revoke(all);
    // Shown first, so that what the task itself comes to is not overwritten by it.
    await this.#show([...all]);
    const terminated = new Set<string>();
    for (const request of inHand) {
      if (terminated.has(request.id)) continue;
      terminated.add(request.id);
      this.#parts.logger.info("Terminating %s (Signals.%s)", request.id, signal);
      this.#terminate(request, signal);
    }
    return [...terminated];
  }

  /** Revokes whatever carries, or will carry, one of these stamps. */
  revokeByStampedHeaders(headers: StampedHeaders): void {
    this.#parts.revokes.revokeByStampedHeaders(headers);
  }

  /** The same, and stops those that run with a signal; returns the stamps by which it found any. */
  terminateByStampedHeaders(
    headers: StampedHeaders,
    signal: NodeJS.Signals = "SIGTERM",
  ): ReadonlyMap<string, ReadonlySet<unknown>> {
    this.revokeByStampedHeaders(headers);
    const wanted = stampsOf(headers);
    const found = new Map<string, Set<unknown>>();
    for (const request of this.#parts.state.active) {
      const { stamps } = request.message.headers;
      const matching = wanted.filter(([header, value]) => [stamps[header]].flat().includes(value));
      if (matching.length === 0) continue;
      for (const [header, value] of matching) {
        const values = found.get(header) ?? new Set();
        found.set(header, values.add(value));
      }
      this.#terminate(request, signal);
    }
    return found;
  }

  /** A child has begun the task: it may have been sentenced before. */
  accepted(request: Request): void {
    if (request.terminateWith !== undefined) this.#terminate(request, request.terminateWith);
  }

  /** A child has died of the signal it was sent: the result is recorded by whoever settles the message. */
  terminated(request: Request, signal: NodeJS.Signals): void {
    this.#announce(request, { terminated: true, signum: signalNumber(signal), expired: false });
  }

  /** What has not begun is caught by `stops` before it does; what is on its way to a child, when it arrives there. */
  #terminate(request: Request, signal: NodeJS.Signals): void {
    if (request.phase.name !== "active") {
      request.terminateWith = signal;
      return;
    }
    if (this.#parts.pool.terminate(request.id, signal)) return;
    this.#parts.logger.warn(
      "%s[%s] cannot be terminated: this kind of pool has no process to stop",
      request.name,
      request.id,
    );
  }

  async #show(ids: readonly string[]): Promise<void> {
    const { interrupted, logger } = this.#parts;
    await Promise.all(
      ids.map((id) =>
        interrupted
          .markRevoked(id)
          .catch((error: unknown) =>
            logger.warn("Failed to mark task %s as revoked in backend: %s", id, String(error)),
          ),
      ),
    );
  }

  #discard(request: Request, reason: RevokeReason): void {
    const { interrupted, onSettleError } = this.#parts;
    request.phase = { name: "done", settlement: "ack" };
    this.#announce(request, { terminated: false, signum: null, expired: reason === "expired" });
    void interrupted
      .revoked(request.message, request.policy, reason)
      .then(() => request.delivery.ack())
      .catch(onSettleError);
  }

  #announce(
    request: Request,
    how: { readonly terminated: boolean; readonly signum: number | null; readonly expired: boolean },
  ): void {
    const { signals, events } = this.#parts;
    events.revoked(request, how);
    if (!signals.has("taskRevoked")) return;
    const { headers } = request.message;
    void signals.send("taskRevoked", { task: headers.task, id: request.id, ...how, headers });
  }
}
