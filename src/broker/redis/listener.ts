import type { RedisConnection } from "./connection.ts";

/** Redis announces here, on RESP2, which watched keys have changed (CLIENT TRACKING with REDIRECT). */
const invalidations = "__redis__:invalidate";

/**
 * The one connection that hears what Redis announces: broadcasts, and that a list we found empty
 * has changed. It shares one pattern among all who listen to it.
 */
export class RedisListener {
  readonly connection: RedisConnection;
  readonly #patterns = new Map<string, Set<(payload: string) => void>>();

  constructor(connection: RedisConnection, onChanged: (keys: readonly string[] | null) => void) {
    this.connection = connection;
    const { client } = connection;
    client.on("messageBuffer", (channel: Buffer, keys: unknown) => {
      if (channel.toString() !== invalidations) return;
      // Null: everything, after FLUSHALL.
      onChanged(Array.isArray(keys) ? keys.map(String) : null);
    });
    client.on("pmessage", (pattern: string, _channel: string, payload: string) => {
      for (const listener of [...(this.#patterns.get(pattern) ?? [])]) listener(payload);
    });
  }

  /**
   * Has Redis announce changes of the lists that `reader` reads. False where it cannot: servers
   * before Redis 6, and proxies.
   */
  async track(reader: RedisConnection): Promise<boolean> {
    try {
      const id = await this.connection.call<number>("client", "ID");
      await this.connection.watch(this.connection.client.subscribe(invalidations));
      // Not what we change ourselves: every take would announce itself.
      await reader.call("client", "TRACKING", "ON", "REDIRECT", id, "NOLOOP");
      return true;
    } catch (error) {
      if (!this.connection.isOpen || !reader.isOpen) throw error;
      return false;
    }
  }

  /** Hears what is published on channels of this pattern; resolves when nothing more can be missed. */
  async listen(pattern: string, listener: (payload: string) => void): Promise<() => Promise<void>> {
    const listeners = this.#patterns.get(pattern) ?? new Set();
    this.#patterns.set(pattern, listeners);
    listeners.add(listener);
    await this.connection.watch(this.connection.client.psubscribe(pattern));
    return async () => {
      listeners.delete(listener);
      if (listeners.size > 0 || this.#patterns.get(pattern) !== listeners) return;
      this.#patterns.delete(pattern);
      if (this.connection.isOpen) await this.connection.watch(this.connection.client.punsubscribe(pattern));
    };
  }

  /** Makes sure that somebody is there: a connection that only listens would never find out. */
  async ping(): Promise<void> {
    await this.connection.watch(this.connection.client.ping());
  }
}
