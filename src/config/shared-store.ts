import { effectiveBrokerUrls, effectiveResultBackend, redisDefaults } from "./effective.ts";
import type { Settings } from "./settings.ts";
import { parseBackendUrl, parseBrokerUrl, type RedisUrl } from "./url.ts";

/**
 * Whether messages and results are in one and the same Redis server or file, so that a result, what
 * follows it, and an acknowledgement can be one atomic step. Databases of one server may
 * differ. Several broker URLs may be several servers: no.
 */
export function sharesStore(settings: Settings): boolean {
  const reading = effectiveBrokerUrls(settings, "read");
  const writing = effectiveBrokerUrls(settings, "write");
  const [url] = reading;
  if (url === undefined || reading.length > 1 || writing.length > 1 || writing[0] !== url) return false;
  try {
    const broker = parseBrokerUrl(url);
    const backend = parseBackendUrl(effectiveResultBackend(settings), redisDefaults(settings));
    if (broker.transport === "sqlite") return backend.transport === "sqlite" && backend.path === broker.path;
    if (broker.transport !== "redis" || backend.transport !== "redis") return false;
    return serverOf(broker) === serverOf(backend);
  } catch {
    return false; // whoever opens them says what is wrong with them
  }
}

/** All of an address but the database. */
function serverOf({ db: _db, ...server }: RedisUrl & { readonly db?: unknown }): string {
  return JSON.stringify(server, Object.keys(server).sort());
}
