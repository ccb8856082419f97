import {
  AsyncResult,
  chain,
  chord,
  group,
  RemoteError,
  type ResultHandle,
  type Signature,
  TimeoutError,
  type Tq,
} from "tq";
import { tag, untag } from "../apps/values.ts";
import { type AnyHandle, createWire } from "../apps/wire-tasks.ts";
import type { Composition } from "../helpers/python-client.ts";
import type { Call, Client, Outcome, Surroundings } from "./client.ts";

/** tq as a client, told what to do in the same words as the Python one. */
export function tqClient(surroundings: Surroundings): Promise<Client> {
  const { app, handles } = createWire(surroundings);
  const results = new Map<string, ResultHandle>();

  const send = async (call: Call): Promise<string> => {
    const args = (untag(call.args ?? []) as unknown[]) ?? [];
    const kwargs = untag(call.kwargs ?? {}) as Record<string, unknown>;
    const options = { ...(untag(call.options ?? {}) as object), kwargs };
    const handle = call.by_name === true ? undefined : handles.get(call.task);
    const result = await (handle ? handle.applyAsync(args, options) : app.sendTask(call.task, args, options));
    results.set(result.id, result);
    return result.id;
  };
  const compose = async (spec: Composition): Promise<string> => {
    const result = (await build(app, handles, spec).delay()) as ResultHandle;
    results.set(result.id, result);
    return result.id;
  };
  const resultOf = (id: string): ResultHandle => results.get(id) ?? app.asyncResult(id);
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
    compose,
    state: (id) => app.asyncResult(id).state(),
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
async function failureOf(error: Error, result: ResultHandle): Promise<Outcome> {
  const args = error instanceof RemoteError ? error.args : [error.message];
  return {
    kind: "failure",
    type: error instanceof RemoteError ? error.excType : error.name,
    message: error.message,
    args: tag(args) as unknown[],
    state: result instanceof AsyncResult ? await result.state() : "",
    traceback: (error as { readonly remoteTraceback?: string | null }).remoteTraceback ?? "",
  };
}

/** A signature of a call, or of calls composed; what they take and give only the test knows. */
function build(app: Tq, handles: ReadonlyMap<string, AnyHandle>, spec: Composition): Signature<[], unknown> {
  const signature = parts(app, handles, spec);
  for (const link of spec.link ?? []) signature.link(build(app, handles, link) as never);
  for (const errback of spec.link_error ?? []) signature.linkError(build(app, handles, errback));
  return spec.stamp ? signature.stamp(spec.stamp) : signature;
}

function parts(app: Tq, handles: ReadonlyMap<string, AnyHandle>, spec: Composition): Signature<[], unknown> {
  const each = (specs: readonly Composition[]) => specs.map((one) => build(app, handles, one)) as never[];
  if ("chain" in spec) return chain(...(each(spec.chain) as [])) as never;
  if ("group" in spec) return group(...each(spec.group)) as never;
  if ("chord" in spec) return chord(each(spec.chord), build(app, handles, spec.body) as never) as never;
  const handle = (name: string) => handles.get(name) as AnyHandle;
  if ("map" in spec) return handle(spec.map).map(spec.items) as never;
  if ("starmap" in spec) return handle(spec.starmap).starmap(spec.items as never) as never;
  if ("chunks" in spec) return handle(spec.chunks).chunks(spec.items as never, spec.size) as never;
  const { task, args = [], kwargs = {}, options = {}, immutable = false } = spec;
  return app.signature<[], unknown>(task, untag(args) as unknown[], {
    ...(untag(options) as object),
    kwargs: untag(kwargs) as Record<string, unknown>,
    immutable,
  });
}
