import type { ResultBackend } from "../backend/backend.ts";
import type { SignatureDict } from "../protocol/signature.ts";
import { chordUnlock, type UnlockParts } from "./chord-unlock.ts";
import type { TaskContext } from "./context.ts";
import type { Parameters } from "./parameters.ts";
import type { TaskRegistry } from "./registry.ts";

/** What the built-in tasks need of their app. */
export interface BuiltinParts extends UnlockParts {
  readonly tasks: TaskRegistry;
  /** The app's store, and those of tasks with one of their own. */
  readonly stores: () => Promise<readonly ResultBackend[]>;
}

export interface BuiltinTask {
  readonly name: string;
  readonly options: {
    readonly bind?: boolean;
    readonly ignoreResult?: boolean;
    readonly maxRetries?: null;
    readonly params?: readonly string[];
  };
  /** Where the function's own text does not tell. */
  readonly parameters?: Parameters;
  readonly fn: (...args: never[]) => unknown;
}

/** The tasks every worker has under Celery's names (protocol 9). */
export function builtinTasks(parts: BuiltinParts): readonly BuiltinTask[] {
  const each = (apply: (item: unknown) => readonly unknown[]) =>
    async function map(self: TaskContext, task: SignatureDict, it: readonly unknown[]): Promise<unknown[]> {
      const target = parts.tasks.find(task.task);
      const results: unknown[] = [];
      for (const item of it) results.push(await target.run(self, apply(item)));
      return results;
    };
  return [
    {
      name: "celery.accumulate",
      options: { bind: true },
      parameters: { names: [], required: 0, rest: true, keywords: true },
      fn: function accumulate(self: TaskContext, ...args: unknown[]): unknown {
        const { index } = self.request.kwargs;
        return typeof index === "number" ? args[index] : args;
      } as never,
    },
    {
      name: "celery.backend_cleanup",
      options: { ignoreResult: true },
      fn: async function backendCleanup(): Promise<void> {
        for (const store of await parts.stores()) await store.cleanup();
      } as never,
    },
    {
      name: "celery.chord_unlock",
      options: {
        bind: true,
        ignoreResult: true,
        maxRetries: null,
        params: ["group_id", "callback", "interval?", "max_retries?", "result?"],
      },
      fn: chordUnlock(parts) as never,
    },
    { name: "celery.map", options: { bind: true, params: ["task", "it"] }, fn: each((item) => [item]) as never },
    {
      name: "celery.starmap",
      options: { bind: true, params: ["task", "it"] },
      fn: each((item) => item as readonly unknown[]) as never,
    },
  ];
}
