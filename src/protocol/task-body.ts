import { InvalidTaskError } from "../errors.ts";
import type { SignatureDict } from "./signature.ts";

/** What travels in the body beside args and kwargs: what to do when the task ends. */
export interface Embed {
  readonly callbacks: readonly SignatureDict[] | null;
  readonly errbacks: readonly SignatureDict[] | null;
  /** The steps left, in reverse: the next one is last. */
  readonly chain: readonly SignatureDict[] | null;
  readonly chord: SignatureDict | null;
}

export type TaskBody = readonly [args: readonly unknown[], kwargs: Readonly<Record<string, unknown>>, embed: Embed];

/** Nothing follows the task. */
export const NO_EMBED: Embed = Object.freeze({ callbacks: null, errbacks: null, chain: null, chord: null });

/** A decoded body of task protocol 1: one object with everything in it (protocol 2). */
export interface V1Body {
  readonly args: unknown;
  readonly [field: string]: unknown;
}

/** Whether a decoded body is one of protocol 1. With `task` in the headers it is a hybrid: only its arguments count. */
export function isV1Body(decoded: unknown): decoded is V1Body {
  return typeof decoded === "object" && decoded !== null && !Array.isArray(decoded) && Object.hasOwn(decoded, "args");
}

/**
 * Arguments and what follows, from a decoded body. Tolerant as Celery's own reader and a bit
 * more (protocol 14): a missing or null embed, missing keys in it, null kwargs, two elements
 * instead of three, a body of protocol 1. Throws `InvalidTaskError` otherwise.
 */
export function readTaskBody(decoded: unknown, headers: { readonly task: string; readonly id: string }): TaskBody {
  if (isV1Body(decoded)) return bodyFromV1(decoded, headers);
  if (!Array.isArray(decoded) || decoded.length < 2) {
    throw invalidBody(headers, `is ${kindOf(decoded)}, not [args, kwargs, embed]`);
  }
  const [args, kwargs, embed] = decoded as readonly unknown[];
  if (isRecord(kwargs) && Array.isArray(args) && isCompleteEmbed(embed) && decoded.length === 3)
    return decoded as unknown as TaskBody;
  return [readArgs(args, headers), readKwargs(kwargs, headers), readEmbed(embed, headers)];
}

/** Positional arguments of a body. */
export function readArgs(args: unknown, headers: { readonly task: string; readonly id: string }): readonly unknown[] {
  if (Array.isArray(args)) return args;
  throw invalidBody(headers, `has args that are ${kindOf(args)}, not a list`);
}

/** Keyword arguments of a body; null, which makes a Python child fail, means none. */
export function readKwargs(
  kwargs: unknown,
  headers: { readonly task: string; readonly id: string },
): Readonly<Record<string, unknown>> {
  if (kwargs === null || kwargs === undefined) return {};
  if (isRecord(kwargs)) return kwargs;
  throw invalidBody(headers, `has kwargs that are ${kindOf(kwargs)}, not an object`);
}

/** What follows the task; missing parts are null, and a single signature stands for a list of one. */
export function readEmbed(embed: unknown, headers: { readonly task: string; readonly id: string }): Embed {
  if (embed === null || embed === undefined) return NO_EMBED;
  if (!isRecord(embed)) throw invalidBody(headers, `has an embed that is ${kindOf(embed)}, not an object`);
  const list = (key: string): readonly SignatureDict[] | null => {
    const value = Object.hasOwn(embed, key) ? embed[key] : null;
    if (value === null || value === undefined) return null;
    const items = Array.isArray(value) ? value : [value];
    const bad = items.findIndex((item) => !isRecord(item) || typeof item.task !== "string");
    if (bad < 0) return items as readonly SignatureDict[];
    throw invalidBody(headers, `has a broken signature at ${key}[${bad}]`);
  };
  return {
    callbacks: list("callbacks"),
    errbacks: list("errbacks"),
    chain: list("chain"),
    chord: list("chord")?.[0] ?? null,
  };
}

/** Arguments and what follows. Protocol 1 has no `chain`: its chains hang on callbacks. */
export function bodyFromV1(decoded: V1Body, headers?: { readonly task: string; readonly id: string }): TaskBody {
  const target = headers ?? { task: String(decoded.task), id: String(decoded.id) };
  const { callbacks, errbacks, chord } = decoded;
  return [
    readArgs(decoded.args, target),
    readKwargs(decoded.kwargs, target),
    readEmbed({ callbacks: callbacks ?? null, errbacks: errbacks ?? null, chain: null, chord: chord ?? null }, target),
  ];
}

function isCompleteEmbed(embed: unknown): boolean {
  if (!isRecord(embed)) return false;
  return (
    isSignatures(embed.callbacks) &&
    isSignatures(embed.errbacks) &&
    isSignatures(embed.chain) &&
    (embed.chord === null || isSignature(embed.chord))
  );
}

function isSignatures(value: unknown): boolean {
  return value === null || (Array.isArray(value) && value.every(isSignature));
}

function isSignature(value: unknown): boolean {
  return isRecord(value) && typeof value.task === "string";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Map) &&
    !(value instanceof Uint8Array)
  );
}

function invalidBody(headers: { readonly task: string; readonly id: string }, problem: string): InvalidTaskError {
  return new InvalidTaskError(`the body of ${headers.task}[${headers.id}] ${problem}`);
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  return Array.isArray(value) ? `a list of ${value.length}` : `a ${typeof value}`;
}
