/** Samples of the memory in use that are kept, oldest first out. */
const mostSamples = 1_000;

/** Remembers what `memsample` saw for `memdump`. */
export class MemorySamples {
  readonly #samples: string[] = [];

  /** Takes a sample of the resident memory and returns it as text, `56.316MB`. */
  take(): string {
    const sample = humanBytes(process.memoryUsage.rss());
    this.#samples.push(sample);
    if (this.#samples.length > mostSamples) this.#samples.shift();
    return sample;
  }

  /** Takes up to `count` samples out, spread over all there are, and forgets the others. */
  drain(count: number): string[] {
    const all = this.#samples.splice(0);
    if (all.length <= count) return all;
    return Array.from({ length: count }, (_, index) => all[Math.floor((index * all.length) / count)] as string);
  }
}

/** As Celery prints sizes: five digits and a unit. */
export function humanBytes(bytes: number): string {
  for (const [unit, size] of [
    ["GB", 2 ** 30],
    ["MB", 2 ** 20],
    ["KB", 2 ** 10],
  ] as const) {
    if (bytes >= size) return `${Number((bytes / size).toPrecision(5))}${unit}`;
  }
  return `${bytes}B`;
}
