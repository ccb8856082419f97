import type { Place } from "./between-steps.ts";
import { Gate } from "./steps.ts";
import { loadScripts, startStepProxy } from "./wire-steps.ts";

/** A place reached over the wire: each doomed worker goes through proxies of its own. `rpc://` goes along with the messages. */
export async function throughProxies(
  env: Place["env"],
  ...servers: readonly AsyncDisposable[]
): Promise<Pick<Place, "env" | "stop"> & AsyncDisposable> {
  for (const url of Object.values(env)) if (url.startsWith("redis:")) await loadScripts(url);
  return {
    env,
    async stop(steps, cut, mark) {
      const gate = new Gate(steps, cut, mark);
      const leave: Gate["leave"] = (deeds) => gate.leave(deeds);
      const broker = await startStepProxy(env.TQ_BROKER_URL, leave);
      const results = env.TQ_RESULT_BACKEND;
      const isApart = results !== "rpc://" && new URL(results).host !== new URL(env.TQ_BROKER_URL).host;
      const store = isApart ? await startStepProxy(results, leave) : null;
      return {
        env: {
          TQ_BROKER_URL: broker.url,
          TQ_RESULT_BACKEND: store?.url ?? (results === "rpc://" ? results : withHostOf(broker.url, results)),
        },
        reached: gate.reached,
        surprises: gate.surprises,
        async [Symbol.asyncDispose]() {
          await broker[Symbol.asyncDispose]();
          await store?.[Symbol.asyncDispose]();
        },
      };
    },
    async [Symbol.asyncDispose]() {
      for (const server of servers) await server[Symbol.asyncDispose]();
    },
  };
}

function withHostOf(proxied: string, url: string): string {
  const target = new URL(url);
  target.host = new URL(proxied).host;
  return target.href;
}
