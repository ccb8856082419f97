/** Buffers kept for later, and the largest of them: together no more than a few MiB. */
const mostKept = 4;
const largestKept = 1 << 20;
/** Lengths are rounded up to these, so that one fits the next message too. */
const grain = 16_384;

/**
 * Lends buffers and takes them back. Memory outside the heap that is allocated anew for each large
 * message has the collector look through the whole heap for every few dozen of them.
 */
export class BufferPool {
  readonly #kept: Buffer[] = [];

  /** A buffer of this length, with whatever is in it. It need not come back. */
  take(length: number): Buffer {
    const at = this.#kept.findIndex((buffer) => buffer.length >= length);
    const [kept] = at < 0 ? [] : this.#kept.splice(at, 1);
    return (kept ?? Buffer.allocUnsafeSlow(Math.ceil(length / grain) * grain)).subarray(0, length);
  }

  /** One that came from here, or a part of it, that nobody will look at any more. */
  giveBack(buffer: Buffer): void {
    const whole = Buffer.from(buffer.buffer);
    if (whole.length > largestKept) return;
    if (this.#kept.length === mostKept) this.#kept.shift();
    this.#kept.push(whole);
  }
}
