/** What decides how many messages a worker takes ahead. */
export interface PrefetchInput {
  /** Tasks the pool takes at once. */
  readonly slots: number;
  /** `workerPrefetchMultiplier`; 0 is no bound. */
  readonly multiplier: number;
  /** `workerDisablePrefetch`: only as many as can begin at once. */
  readonly disabled: boolean;
}

/** AMQP counts in 16 bits, and Celery takes more for no bound (inventory G34). */
const mostPrefetch = 65_535;
/** What stands for no bound where a share of the window is to be had. */
const wideWindow = 1_000;

/** Most messages held unsettled; 0 is no bound (inventory G33, G37). */
export function prefetchCount({ slots, multiplier, disabled }: PrefetchInput): number {
  if (disabled) return Math.max(1, slots);
  const count = Math.max(multiplier === 0 ? 0 : 1, slots * multiplier);
  return count > mostPrefetch ? 0 : count;
}

/**
 * Deliveries in hand with which every slot is busy and half of them have something to go on with. With a
 * window no wider than the slots that is more than it ever holds: nothing is put off then.
 */
export function enoughInHand({ slots }: PrefetchInput): number {
  return Math.ceil(slots * 1.5);
}

/**
 * Most requests of one kind that may wait in hand, for their time or their turn, where Celery widens
 * the window instead (G34): a third of what is taken beyond what the pool can begin with. What
 * does not fit waits in the broker, so that others always have room.
 */
export function waitingRoom(input: PrefetchInput): number {
  const window = prefetchCount(input) || wideWindow + input.slots;
  return Math.floor(Math.max(0, window - input.slots) / 3);
}

/**
 * The bound after a reconnect (inventory G38): tasks that were running go on, and what is fetched
 * beside them would wait for them. `max` is the bound otherwise, `active` how many run.
 */
export function reducedPrefetch(max: number, active: number, multiplier: number): number {
  return max === 0 ? 0 : Math.min(max, Math.max(1, multiplier, max - active * multiplier));
}
