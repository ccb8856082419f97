/**
 * Everything of several iterables, as it comes; ends when all have ended, rejects when one does. Whoever
 * leaves early has `stop` called, which must make what is still awaited of them settle.
 */
export async function* merge<T>(
  sources: readonly AsyncIterable<T>[],
  stop: () => void,
): AsyncGenerator<T, void, undefined> {
  const iterators = sources.map((source) => source[Symbol.asyncIterator]());
  const step = async (iterator: AsyncIterator<T>) => ({ iterator, next: await iterator.next() });
  const waiting = new Map(iterators.map((iterator) => [iterator, step(iterator)]));
  try {
    while (waiting.size > 0) {
      const { iterator, next } = await Promise.race(waiting.values());
      if (next.done) waiting.delete(iterator);
      else {
        waiting.set(iterator, step(iterator));
        yield next.value;
      }
    }
  } finally {
    stop();
    await Promise.allSettled(waiting.values());
    await Promise.allSettled(iterators.map((iterator) => iterator.return?.()));
  }
}
