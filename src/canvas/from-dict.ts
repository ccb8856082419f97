import { InvalidTaskError } from "../errors.ts";
import type { SignatureDict } from "../protocol/signature.ts";

type Subtask = SignatureDict["subtask_type"];

const compositions: Readonly<Record<string, Exclude<Subtask, null>>> = {
  "celery.chain": "chain",
  "celery.group": "group",
  "celery.chord": "chord",
  "celery.chunks": "chunks",
};

const taskNames: Readonly<Record<Exclude<Subtask, null>, string>> = {
  chain: "celery.chain",
  group: "celery.group",
  chord: "celery.chord",
  chunks: "celery.chunks",
  xmap: "celery.map",
  xstarmap: "celery.starmap",
};

/**
 * Reads a signature a peer or a user wrote, with all that is nested in it: parts of a
 * composition, `link`, `link_error`, `chain` and `chord`. Keys that are missing get their
 * defaults, one callback becomes a list of one, and Celery's compositions are known by their
 * task name when the type is missing, as Python leaves it for chunks.
 *
 * Throws `InvalidTaskError` naming the place and what is wrong with it.
 */
export function fromDict(value: unknown, where = "signature"): SignatureDict {
  const dict = record(value, where);
  const { args, kwargs, options, immutable } = dict;
  const type = subtaskType(dict, where);
  const task = dict.task ?? (type === null ? undefined : taskNames[type]);
  if (typeof task !== "string" || task === "") {
    throw new InvalidTaskError(`${where}.task must be the name of a task, got: ${show(task)}`);
  }
  return {
    task,
    args: isGiven(args) ? list(args, `${where}.args`) : [],
    kwargs: readKwargs(type, isGiven(kwargs) ? record(kwargs, `${where}.kwargs`) : {}, `${where}.kwargs`),
    options: isGiven(options) ? readOptions(record(options, `${where}.options`), `${where}.options`) : {},
    subtask_type: type,
    immutable: immutable === true,
  };
}

/** One signature, a list of them, or nothing; as a list. */
export function listFromDict(value: unknown, where: string): readonly SignatureDict[] {
  if (!isGiven(value)) return [];
  if (!Array.isArray(value)) return [fromDict(value, where)];
  return value.map((entry, index) => fromDict(entry, `${where}[${index}]`));
}

function subtaskType(dict: Readonly<Record<string, unknown>>, where: string): Subtask {
  const type = dict.subtask_type;
  if (!isGiven(type)) {
    const task = dict.task;
    const known = typeof task === "string" ? compositions[task] : undefined;
    return known !== undefined && looksLike(known, dict.kwargs) ? known : null;
  }
  if (typeof type === "string" && Object.hasOwn(taskNames, type)) return type as Subtask;
  throw new InvalidTaskError(
    `${where}.subtask_type must be one of ${Object.keys(taskNames).join(", ")} or null, got: ${show(type)}`,
  );
}

/** Celery's legacy tasks have the names of compositions too, but other arguments (protocol 9). */
function looksLike(type: Exclude<Subtask, null>, kwargs: unknown): boolean {
  if (typeof kwargs !== "object" || kwargs === null) return false;
  if (type === "chord") return "header" in kwargs && "body" in kwargs;
  return type === "chunks" ? "it" in kwargs && "n" in kwargs : "tasks" in kwargs;
}

function readKwargs(
  type: Subtask,
  kwargs: Readonly<Record<string, unknown>>,
  where: string,
): Readonly<Record<string, unknown>> {
  switch (type) {
    case "chain":
    case "group":
      return { ...kwargs, tasks: tasks(kwargs.tasks, `${where}.tasks`) };
    case "chord":
      return {
        ...kwargs,
        kwargs: isGiven(kwargs.kwargs) ? record(kwargs.kwargs, `${where}.kwargs`) : {},
        header: Array.isArray(kwargs.header)
          ? tasks(kwargs.header, `${where}.header`)
          : fromDict(kwargs.header, `${where}.header`),
        body: body(kwargs.body, `${where}.body`),
      };
    case "chunks":
    case "xmap":
    case "xstarmap":
      return mapKwargs(type, kwargs, where);
    case null:
      return kwargs;
    default:
      return type satisfies never;
  }
}

function body(value: unknown, where: string): SignatureDict {
  if (!isGiven(value)) throw new InvalidTaskError(`${where} is missing: a chord without body is a group`);
  return fromDict(value, where);
}

function mapKwargs(
  type: "chunks" | "xmap" | "xstarmap",
  kwargs: Readonly<Record<string, unknown>>,
  where: string,
): Readonly<Record<string, unknown>> {
  const task = fromDict(kwargs.task, `${where}.task`);
  const it = list(kwargs.it, `${where}.it`);
  if (type !== "chunks") return { ...kwargs, task, it };
  const n = kwargs.n;
  if (typeof n !== "number" || !Number.isInteger(n) || n < 1) {
    throw new InvalidTaskError(`${where}.n must be a whole number of at least 1, got: ${show(n)}`);
  }
  return { ...kwargs, task, it, n };
}

function tasks(value: unknown, where: string): readonly SignatureDict[] {
  return list(value, where).map((entry, index) => fromDict(entry, `${where}[${index}]`));
}

/** Options with the signatures they hold read; nulls say nothing and are left out (protocol 4.2). */
export function readOptions(
  options: Readonly<Record<string, unknown>>,
  where = "options",
): Readonly<Record<string, unknown>> {
  const read: Record<string, unknown> = {};
  for (const key in options) {
    const value = options[key];
    if (!isGiven(value)) continue;
    if (key === "link" || key === "link_error" || key === "chain") read[key] = listFromDict(value, `${where}.${key}`);
    else if (key === "chord") read[key] = fromDict(value, `${where}.${key}`);
    else read[key] = value;
  }
  return read;
}

const isGiven = (value: unknown): boolean => value !== null && value !== undefined;

function record(value: unknown, where: string): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new InvalidTaskError(`${where} must be an object, got: ${show(value)}`);
}

function list(value: unknown, where: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new InvalidTaskError(`${where} must be an array, got: ${show(value)}`);
}

/** The kind of a value, and the value itself where it is short and cannot hold a secret-sized payload. */
function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null || typeof value === "boolean" || typeof value === "number") return String(value);
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  return Array.isArray(value) ? `an array of ${value.length}` : `a value of type ${typeof value}`;
}
