import { parseBackendUrl } from "../config/url.ts";
import type { ResultBackend } from "./backend.ts";
import type { BackendOptions } from "./options.ts";

/**
 * The result store for this URL, or for a bare word such as `rpc` or `disabled`. Connects when
 * it is first needed. Only the store asked for is loaded. Throws `ImproperlyConfigured` for a
 * URL that means nothing.
 */
export async function createBackend(url: string, options: BackendOptions): Promise<ResultBackend> {
  const { transport } = parseBackendUrl(url);
  switch (transport) {
    case "redis":
      return (await import("./redis/backend.ts")).createRedisBackend(url, options);
    case "rpc":
      return (await import("./rpc/backend.ts")).createRpcBackend(url, options);
    case "sqlite":
      return (await import("./sqlite/backend.ts")).createSqliteBackend(url, options);
    case "memory":
      return (await import("./memory/backend.ts")).createMemoryBackend(url, options);
    case "disabled":
      return (await import("./disabled.ts")).createDisabledBackend();
  }
}
