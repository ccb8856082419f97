/** Orders what several processes did without trusting their clocks (protocol 11.1). */
export class LamportClock {
  #value: number;

  constructor(value = 0) {
    this.#value = value;
  }

  get value(): number {
    return this.#value;
  }

  /** Before sending: counts on, and returns the new value. */
  forward(): number {
    this.#value += 1;
    return this.#value;
  }

  /** After receiving: goes past what the other knew, and returns the new value. Nonsense counts as 0. */
  adjust(other: unknown): number {
    const known = typeof other === "number" && Number.isSafeInteger(other) ? other : 0;
    this.#value = Math.max(this.#value, known) + 1;
    return this.#value;
  }
}
