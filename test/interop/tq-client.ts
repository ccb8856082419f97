import { type AsyncResult, RemoteError, TimeoutError } from "tq";
import { tag, untag } from "../apps/values.ts";
import { createWire } from "../apps/wire-tasks.ts";
import type { Call, Client, Outcome, Surroundings } from "./client.ts";

/** tq as a client, told what to do in the same words as the Python one. */
export function tqClient(surroundings: Surroundings): Promise<Client> {
  const { app, handles } = createWire(surroundings);
  const results = new Map<string, AsyncResult>();

  const send = async (call: Call): Promise<string> => {
    const args = (untag(call.args ?? []) as unknown[]) ?? [];
    const kwargs = untag(call.kwargs ?? {}) as Record<string, unknown>;
    const options = { ...(untag(call.options ?? {}) as object), kwargs };
    const handle = call.by_name === true ? undefined : handles.get(call.task);
    const result = await (handle ? handle.applyAsync(args, options) : app.sendTask(call.task, args, options));
    results.set(result.id, result);
    return result.id;
  };
  const resultOf = (id: string): AsyncResult => results.get(id) ?? app.asyncResult(id);
  const outcomeOf = async (id: string, timeout: number, onMessage?: (meta: Meta) => void): Promise<Outcome> => {
    const result = resultOf(id);
    try {
      const value = await result.get({ timeout, ...(onMessage ? { onMessage } : {}) });
      return { kind: "success", value: tag(value) };
    } catch (error) {
      if (error instanceof TimeoutError && !(await result.ready())) return { kind: "timeout", message: error.message };
      return await failureOf(error as Error, result);
    }
  };
  return Promise.resolve({
    send: (...calls) => Promise.all(calls.map(send)),
    outcomes: (ids, timeout = 10) => Promise.all(ids.map((id) => outcomeOf(id, timeout))),
    state: (id) => resultOf(id).state(),
    async watch(id) {
      const states: [string, unknown][] = [];
      const outcome = await outcomeOf(id, 10, (meta) => states.push([meta.status, tag(meta.result)]));
      return { outcome, states };
    },
    [Symbol.asyncDispose]: () => app.close(),
  } satisfies Client);
}

interface Meta {
  readonly status: string;
  readonly result: unknown;
}

/** Known classes come back as themselves; all others as a RemoteError that knows what it was. */
async function failureOf(error: Error, result: AsyncResult): Promise<Outcome> {
  const args = error instanceof RemoteError ? error.args : [error.message];
  return {
    kind: "failure",
    type: error instanceof RemoteError ? error.excType : error.name,
    message: error.message,
    args: tag(args) as unknown[],
    state: await result.state(),
    traceback: (error as { readonly remoteTraceback?: string | null }).remoteTraceback ?? "",
  };
}
