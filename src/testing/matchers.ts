import { isDeepStrictEqual } from "node:util";
import type { AsyncResult } from "../app/result.ts";
import { pythonRepr } from "../util/repr.ts";
import type { RecordedCalls } from "./recorded-calls.ts";

/** What an assertion library gets of a matcher: vitest and jest understand it alike. */
export interface MatcherResult {
  readonly pass: boolean;
  readonly message: () => string;
}

/** Seconds a matcher waits for a result. */
const patience = 5;

/**
 * Matchers for vitest and jest: `expect.extend(tqMatchers)`.
 *
 * - `await expect(result).toSucceed()`, `.toSucceedWith(4)`, `.toFail()`, `.toFailWith(KeyError)`: of a
 *   result, waited for up to 5 s; `toFailWith` takes a class, a text in the message, or an expression.
 * - `expect(calls).toHaveSent("proj.add", [2, 2])`: of `recordCalls(app)`.
 */
export const tqMatchers = {
  async toSucceed(result: AsyncResult): Promise<MatcherResult> {
    const end = await endOf(result);
    return verdict(end.kind === "value", `task ${result.id}`, "to succeed", end);
  },

  async toSucceedWith(result: AsyncResult, expected: unknown): Promise<MatcherResult> {
    const end = await endOf(result);
    const pass = end.kind === "value" && isDeepStrictEqual(end.value, expected);
    return verdict(pass, `task ${result.id}`, `to succeed with ${pythonRepr(expected)}`, end);
  },

  async toFail(result: AsyncResult): Promise<MatcherResult> {
    const end = await endOf(result);
    return verdict(end.kind === "error", `task ${result.id}`, "to fail", end);
  },

  async toFailWith(
    result: AsyncResult,
    expected: string | RegExp | (abstract new (...args: never[]) => unknown),
  ): Promise<MatcherResult> {
    const end = await endOf(result);
    const pass = end.kind === "error" && fits(end.error, expected);
    const wanted = typeof expected === "function" ? expected.name : String(expected);
    return verdict(pass, `task ${result.id}`, `to fail with ${wanted}`, end);
  },

  toHaveSent(calls: RecordedCalls, task: string, args?: readonly unknown[]): MatcherResult {
    const sent = calls.all(task);
    const pass = args === undefined ? sent.length > 0 : sent.some((call) => isDeepStrictEqual(call.args, args));
    const wanted = args === undefined ? task : `${task} with ${pythonRepr(args)}`;
    const all = [...calls].map((call) => `${call.task}${pythonRepr(call.args)}`).join(", ") || "nothing";
    return { pass, message: () => `expected ${wanted} ${pass ? "not " : ""}to have been sent; sent was ${all}` };
  },
};

type End =
  | { readonly kind: "value"; readonly value: unknown }
  | { readonly kind: "error"; readonly error: unknown }
  | { readonly kind: "pending"; readonly state: string };

async function endOf(result: AsyncResult): Promise<End> {
  try {
    return { kind: "value", value: await result.get({ timeout: patience }) };
  } catch (error) {
    return (await result.ready()) ? { kind: "error", error } : { kind: "pending", state: await result.state() };
  }
}

function verdict(pass: boolean, what: string, wanted: string, end: End): MatcherResult {
  const became = {
    value: () => `it succeeded with ${pythonRepr((end as { value: unknown }).value)}`,
    error: () => `it failed with ${String((end as { error: unknown }).error)}`,
    pending: () => `it was ${(end as { state: string }).state} after ${patience} s; does a worker run?`,
  };
  return { pass, message: () => `expected ${what} ${pass ? "not " : ""}${wanted}; ${became[end.kind]()}` };
}

function fits(error: unknown, expected: string | RegExp | (abstract new (...args: never[]) => unknown)): boolean {
  if (typeof expected === "function") return error instanceof expected;
  const message = error instanceof Error ? error.message : String(error);
  return typeof expected === "string" ? message.includes(expected) : expected.test(message);
}
