import * as errors from "../errors.ts";
import { argsRepr, pythonRepr, pythonStringLiteral } from "../util/repr.ts";
import { writeWireJson } from "./wire-json.ts";

/** An exception on the wire (protocol 8.1). `exc_message` is the array of arguments; older workers send text. */
export interface WireError {
  readonly exc_type: string;
  readonly exc_message: unknown;
  readonly exc_module: string | null;
}

/** A class of errors, whatever its constructor takes. */
export type ErrorConstructorLike = new (...args: never[]) => Error;

/** Module of errors Python has no class for; its readers make one of the same name. Never importable there. */
const OWN_MODULE = "tq.errors";

/** Our classes that Celery has under the same name, and the module a Python reader finds it in. */
const modules: ReadonlyMap<string, readonly ErrorConstructorLike[]> = new Map<string, readonly ErrorConstructorLike[]>([
  [
    "celery.exceptions",
    [
      errors.ImproperlyConfigured,
      errors.SecurityError,
      errors.TaskError,
      errors.NotRegistered,
      errors.QueueNotFound,
      errors.TimeoutError,
      errors.MaxRetriesExceededError,
      errors.TaskRevokedError,
      errors.InvalidTaskError,
      errors.ChordError,
      errors.BackendGetMetaError,
      errors.BackendStoreError,
      errors.TaskPredicate,
      errors.Ignore,
      errors.Reject,
      errors.Retry,
    ],
  ],
  [
    "billiard.exceptions",
    [errors.SoftTimeLimitExceeded, errors.TimeLimitExceeded, errors.WorkerLostError, errors.Terminated],
  ],
  ["kombu.exceptions", [errors.OperationalError, errors.EncodeError, errors.DecodeError, errors.ContentDisallowed]],
]);

const moduleOf: ReadonlyMap<unknown, string> = new Map(
  [...modules].flatMap(([module, classes]) => classes.map((each) => [each, module])),
);
/** JavaScript's own errors that mean the same under the same name in Python. */
const shared: readonly ErrorConstructorLike[] = [TypeError, SyntaxError];
const sharedBuiltins: ReadonlySet<unknown> = new Set<unknown>(shared);

const classAt: ReadonlyMap<string, ErrorConstructorLike> = new Map(
  [...modules, ["builtins", shared] as const].flatMap(([module, classes]) =>
    classes.map((each) => [`${module}.${each.name}`, each]),
  ),
);

/**
 * The error as Celery stores it. Names stay what they are here; the module tells a Python
 * reader where its own class of that name is, or, for a name it does not have, lets it make
 * one. Anything may be thrown: what is no Error becomes the argument of one.
 *
 * An error may say more of itself: `args` (an array) is what its constructor took, `excModule`
 * the Python module of its class.
 */
export function encodeError(error: unknown): WireError {
  if (isWireError(error)) return error;
  if (!(error instanceof Error)) {
    return {
      exc_type: "Error",
      exc_message: [typeof error === "string" ? error : pythonRepr(error)],
      exc_module: OWN_MODULE,
    };
  }
  if (error instanceof errors.RemoteError) {
    return { exc_type: error.excType, exc_message: error.args.map(writableArg), exc_module: error.excModule };
  }
  return { exc_type: nameOf(error), exc_message: argsOf(error).map(writableArg), exc_module: moduleNameOf(error) };
}

/**
 * The error to throw for a stored one. Celery's own exceptions become ours of the same name, a
 * `TypeError` or `SyntaxError` JavaScript's,
 * classes of `registry` (by `module.Name` or `Name`) themselves, all others a `RemoteError`.
 * `remoteTraceback` on it is the remote stack's text. Never throws and never runs code named by
 * the wire: only classes known here are made.
 */
export function decodeError(
  wire: unknown,
  traceback: string | null,
  registry?: ReadonlyMap<string, ErrorConstructorLike>,
): Error {
  const { exc_type: type, exc_message: message, exc_module: module } = isWireError(wire) ? wire : strangeError(wire);
  const args = Array.isArray(message)
    ? (message as readonly unknown[])
    : message === null || message === undefined
      ? []
      : [message];
  const known = registry?.get(`${module}.${type}`) ?? registry?.get(type) ?? classAt.get(`${module}.${type}`);
  const error = (known && construct(known, args)) ?? new errors.RemoteError(type, module, args);
  if (error instanceof errors.RemoteError) error.remoteTraceback = traceback;
  else hide(error, "remoteTraceback", traceback);
  return error;
}

/** How Python would print the exception: `ValueError('boom', 42)`. */
export function errorRepr(error: unknown): string {
  const { exc_type: type, exc_message: message } = encodeError(error);
  const name = type.slice(type.lastIndexOf(".") + 1);
  const args = Array.isArray(message) ? (message as readonly unknown[]) : [message];
  if (args.length === 1 && typeof args[0] === "string") return `${name}(${shortLiteral(args[0])})`;
  return `${name}${args.length === 1 ? argsRepr(args).replace(/,\)$/, ")") : argsRepr(args)}`;
}

/** Whether a value is an exception as the wire has it. */
export function isWireError(value: unknown): value is WireError {
  if (typeof value !== "object" || value === null || value instanceof Error) return false;
  return typeof (value as WireError).exc_type === "string" && "exc_message" in value;
}

/** A result that should be an exception and is not; Python's reader raises over it. */
function strangeError(value: unknown): WireError {
  const type = typeof value === "object" && value !== null ? (value as Partial<WireError>).exc_type : undefined;
  if (typeof type === "string") return { exc_type: type, exc_message: [], exc_module: null };
  return { exc_type: "Error", exc_message: [typeof value === "string" ? value : pythonRepr(value)], exc_module: null };
}

function nameOf(error: Error): string {
  const own = typeof error.name === "string" && error.name !== "" ? error.name : "Error";
  const made = error.constructor?.name;
  // `class Boom extends Error {}` leaves `name` at "Error"; its class says more.
  return own === "Error" && made ? made : own;
}

function moduleNameOf(error: Error): string {
  const { excModule } = error as { readonly excModule?: unknown };
  if (typeof excModule === "string") return excModule;
  // A user's subclass is found under the name of the class that Python knows only if it has that very name.
  for (let made: unknown = error.constructor; typeof made === "function"; made = Object.getPrototypeOf(made)) {
    const module = sharedBuiltins.has(made) ? "builtins" : moduleOf.get(made);
    if (module !== undefined) return (made as { readonly name: string }).name === nameOf(error) ? module : OWN_MODULE;
  }
  return OWN_MODULE;
}

function argsOf(error: Error): readonly unknown[] {
  const { args } = error as { readonly args?: unknown };
  if (Array.isArray(args)) return args;
  if (error instanceof errors.TimeLimitExceeded) return [error.limit];
  if (error instanceof errors.Reject) return [error.reason, error.requeue];
  return error.message === "" ? [] : [error.message];
}

/** What cannot be written stands there as its repr, as with Celery. */
function writableArg(arg: unknown): unknown {
  if (arg === null || typeof arg === "string" || typeof arg === "boolean") return arg;
  try {
    writeWireJson(arg);
    return arg;
  } catch {
    return pythonRepr(arg);
  }
}

function construct(known: ErrorConstructorLike, args: readonly unknown[]): Error | undefined {
  const make = known as new (...args: unknown[]) => Error;
  try {
    const error = new make(...constructorArgs(make, args));
    if (!(error instanceof Error)) return undefined;
    // Encoded again, it says what it said: constructors keep only what they understand.
    hide(error, "args", args);
    return error;
  } catch {
    return undefined;
  }
}

function constructorArgs(known: unknown, args: readonly unknown[]): readonly unknown[] {
  if (known === errors.Reject) return [String(args[0] ?? ""), { requeue: args[1] === true }];
  if (known === errors.TimeLimitExceeded || !moduleOf.has(known)) return args;
  return args.length === 0 ? [""] : [args.map((arg) => (typeof arg === "string" ? arg : pythonRepr(arg))).join(", ")];
}

/** A property that does not clutter the printed error. */
function hide(error: Error, key: string, value: unknown): void {
  Object.defineProperty(error, key, { value, writable: true, enumerable: false, configurable: true });
}

function shortLiteral(text: string): string {
  return text.length <= 1024
    ? pythonStringLiteral(text)
    : `${pythonStringLiteral(text.slice(0, 1024)).slice(0, -1)}...'`;
}
