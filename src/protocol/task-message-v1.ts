import { InvalidTaskError } from "../errors.ts";
import { formatIso } from "../util/iso8601.ts";
import { argsRepr, kwargsRepr } from "../util/repr.ts";
import { readArgs, readKwargs, type V1Body } from "./task-body.ts";
import { createTaskHeaders, type TaskHeaders } from "./task-message.ts";

export { bodyFromV1, isV1Body, type V1Body } from "./task-body.ts";

/**
 * The headers a message of protocol 1 would have in protocol 2. `taskset` wins over `group`;
 * with `utc: false` dates without a zone are of this machine's zone. Throws `InvalidTaskError`
 * naming the field.
 */
export function headersFromV1(decoded: V1Body): TaskHeaders {
  const { task, id } = decoded;
  if (typeof task !== "string" || task === "") throw new InvalidTaskError("the body names no task");
  if (typeof id !== "string" || id === "") throw new InvalidTaskError(`the body of ${task} has no id`);
  const target = { task, id };
  return {
    ...createTaskHeaders({
      ...target,
      lang: "py",
      group: textOrNull(decoded, "taskset") ?? textOrNull(decoded, "group"),
      group_index: numberOr(decoded, "group_index", null),
      retries: numberOr(decoded, "retries", 0),
      eta: dateOrNull(decoded, "eta"),
      expires: dateOrNull(decoded, "expires"),
      timelimit: timelimit(decoded),
      argsrepr: argsRepr(readArgs(decoded.args, target)),
      kwargsrepr: kwargsRepr(readKwargs(decoded.kwargs, target)),
    }),
    // Protocol 1 knows no root; whoever sends for this task then takes its own id.
    root_id: null,
  };
}

function textOrNull(decoded: V1Body, field: string): string | null {
  const value = decoded[field] ?? null;
  if (value === null || typeof value === "string") return value;
  throw wrong(decoded, field, "text or null");
}

function numberOr<T extends number | null>(decoded: V1Body, field: string, otherwise: T): number | T {
  const value = decoded[field] ?? null;
  if (value === null) return otherwise;
  if (Number.isSafeInteger(value)) return value as number;
  throw wrong(decoded, field, "a whole number");
}

function dateOrNull(decoded: V1Body, field: string): string | null {
  const text = textOrNull(decoded, field);
  if (text === null || decoded.utc !== false || /(?:Z|[+-]\d\d(?::?\d\d)?)$/i.test(text.slice(10))) return text;
  const local = new Date(text);
  return Number.isNaN(local.getTime()) ? text : formatIso(local);
}

function timelimit(decoded: V1Body): TaskHeaders["timelimit"] {
  const value = decoded.timelimit ?? [null, null];
  const isLimit = (limit: unknown): boolean => limit === null || typeof limit === "number";
  if (Array.isArray(value) && value.length === 2 && value.every(isLimit))
    return value as unknown as TaskHeaders["timelimit"];
  throw wrong(decoded, "timelimit", "[hard, soft]");
}

function wrong(decoded: V1Body, field: string, rule: string): InvalidTaskError {
  return new InvalidTaskError(`\`${field}\` of ${String(decoded.task)}[${String(decoded.id)}] must be ${rule}`);
}
