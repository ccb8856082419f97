import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { startChild } from "./child.ts";
import { celeryBin } from "./services.ts";
import { pythonEnv, pythonFolder } from "./worker.ts";

/** A call as the Python client takes it; values tagged as in test/python/values.py, options by Celery's names. */
export interface PythonCall {
  readonly task: string;
  readonly args?: readonly unknown[];
  readonly kwargs?: Readonly<Record<string, unknown>>;
  readonly options?: Readonly<Record<string, unknown>>;
  /** `send_task` by name instead of the task's own `apply_async`. */
  readonly by_name?: boolean;
}

/** A call that may be part of a canvas. */
export interface PythonStep extends PythonCall {
  /** Takes nothing from the step before it. */
  readonly immutable?: boolean;
}

/** What may be said of any composition. */
export interface CompositionTraits {
  /** Called with the result when it succeeds. */
  readonly link?: readonly Composition[];
  /** Called when it fails. */
  readonly link_error?: readonly Composition[];
  readonly stamp?: Readonly<Record<string, unknown>>;
}

export type Composition = CompositionTraits &
  (
    | PythonStep
    | { readonly chain: readonly Composition[] }
    | { readonly group: readonly Composition[] }
    | { readonly chord: readonly Composition[]; readonly body: Composition }
    | { readonly map: string; readonly items: readonly unknown[] }
    | { readonly starmap: string; readonly items: readonly (readonly unknown[])[] }
    | { readonly chunks: string; readonly items: readonly (readonly unknown[])[]; readonly size: number }
  );

export type PythonOutcome =
  | { readonly kind: "success"; readonly value: unknown }
  | { readonly kind: "timeout"; readonly message: string }
  | {
      readonly kind: "failure";
      readonly type: string;
      readonly message: string;
      readonly args: readonly unknown[];
      readonly state: string;
      readonly traceback: string;
    };

/** A real Celery client that lives as long as the test file: a call costs milliseconds. */
export interface PythonClient extends AsyncDisposable {
  /** Resolves with the ids of the calls, in order, once the broker has them. */
  send(...calls: PythonCall[]): Promise<string[]>;
  /** Waits up to `timeout` seconds (10) for all these results. */
  outcomes(ids: readonly string[], timeout?: number): Promise<PythonOutcome[]>;
  /** Calls composed on the canvas; resolves with the id whose outcome is that of the whole. */
  compose(spec: Composition): Promise<string>;
  state(id: string): Promise<string>;
  /** Waits like `outcomes`, and gives also each state seen on the way with its data. */
  /** A method of `app.control.inspect(options)`. */
  inspect(method: string, options: Readonly<Record<string, unknown>>, ...args: readonly unknown[]): Promise<unknown>;
  /** A method of `app.control`, with arguments and keyword arguments. */
  control(method: string, args: readonly unknown[], kwargs: Readonly<Record<string, unknown>>): Promise<unknown>;
  watch(
    id: string,
  ): Promise<{ readonly outcome: PythonOutcome; readonly states: readonly (readonly [string, unknown])[] }>;
}

/** Starts test/python/client.py with broker and backend in its environment. */
export async function startPythonClient(env: Readonly<Record<string, string | undefined>>): Promise<PythonClient> {
  const child = startChild(join(celeryBin(), "python"), ["client.py"], {
    cwd: pythonFolder,
    env: pythonEnv(env),
    stdio: ["pipe", "pipe", "pipe"],
  });
  const { stdin, stdout } = child.process;
  if (stdin === null || stdout === null) throw new Error("the Python client has no pipes");
  const replies = createInterface({ input: stdout });
  await child.printed(/^ready$/);

  let last: Promise<unknown> = Promise.resolve();
  const ask = (request: Readonly<Record<string, unknown>>): Promise<unknown> => {
    const answer = last
      .catch(() => undefined)
      .then(async () => {
        const line = once(replies, "line") as Promise<[string]>;
        stdin.write(`${JSON.stringify(request)}\n`);
        const answered = await Promise.race([line, child.exited]);
        if (!Array.isArray(answered)) throw new Error(`the Python client ended:\n${child.output}`);
        const [text] = answered;
        const reply = JSON.parse(text) as { readonly value?: unknown; readonly error?: string };
        if (reply.error !== undefined) throw new Error(`in the Python client: ${reply.error}`);
        return reply.value;
      });
    last = answer;
    return answer;
  };
  return {
    send: (...calls) => ask({ op: "send", calls }) as Promise<string[]>,
    outcomes: (ids, timeout = 10) => ask({ op: "outcomes", ids, timeout }) as Promise<PythonOutcome[]>,
    compose: (spec) => ask({ op: "compose", spec }) as Promise<string>,
    state: (id) => ask({ op: "state", id }) as Promise<string>,
    inspect: (method, options, ...args) => ask({ op: "inspect", method, options, args }),
    control: (method, args, kwargs) => ask({ op: "control", method, args, kwargs }),
    watch: (id) => ask({ op: "watch", id, timeout: 10 }) as ReturnType<PythonClient["watch"]>,
    async [Symbol.asyncDispose]() {
      replies.close();
      await child.kill();
    },
  };
}
