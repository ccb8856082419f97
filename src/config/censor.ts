/** What of a configuration may be shown (inventory A55). */
import { isRecord } from "./parse.ts";
import { maskUrl } from "./url.ts";

/** Celery's HIDDEN_SETTINGS: what has one of these in its name is not shown at all. */
const hidden = /API|TOKEN|KEY|SECRET|PASS|PROFANITIES_LIST|SIGNATURE|DATABASE|BEAT_DBURI/i;

const mask = "*".repeat(8);

/**
 * The value of a setting with what is secret replaced: all of it when its name, in snake case,
 * hints at a secret, else the passwords in the URLs it holds. Objects are gone through by the
 * names of their fields, as Celery does.
 */
export function censor(name: string, value: unknown): unknown {
  if (isRecord(value)) {
    return Object.fromEntries(Object.entries(value).map(([field, inner]) => [field, censor(field, inner)]));
  }
  if (hidden.test(name)) return mask;
  if (Array.isArray(value)) return value.map((item) => censor("", item));
  if (typeof value === "string" && value.includes("://")) return maskUrl(value);
  return value;
}

/** A value on one line, for messages and reports. Functions are shown by name. */
export function display(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "function") return `<function ${value.name || "anonymous"}>`;
  if (value === undefined) return "undefined";
  if (typeof value === "bigint" || typeof value === "symbol" || value instanceof RegExp) return String(value);
  if (typeof value === "number") return Object.is(value, Number.POSITIVE_INFINITY) ? "inf" : String(value);
  try {
    return JSON.stringify(value, (_, inner: unknown) =>
      typeof inner === "function" || typeof inner === "bigint" || inner instanceof RegExp
        ? typeof inner === "function"
          ? `<function ${inner.name || "anonymous"}>`
          : String(inner)
        : inner,
    );
  } catch {
    return Object.prototype.toString.call(value);
  }
}
