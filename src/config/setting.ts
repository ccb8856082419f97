/**
 * What a setting may hold. `Value` is what the program reads, `Input` what a user may write:
 * often more, such as a number as text.
 */
export interface Rule<Value, Input = Value> {
  /** Completes the sentence "`key` must be …". */
  readonly expects: string;
  /** A value that would do, for the error message. */
  readonly example?: Input;
  /**
   * The value as the program uses it; undefined when the rule refuses it. Throws
   * `ImproperlyConfigured` where it knows better than `expects` what is wrong. Never changes
   * or freezes what it was given.
   */
  readonly parse: (given: unknown) => Value | undefined;
}

/** One configuration key: its rule, its default, and one line of documentation. */
export interface Setting<Value = unknown, Input = Value> {
  readonly rule: Rule<Value, Input>;
  readonly default: Value;
  readonly doc: string;
  /** The name before Celery 4 where it does not follow from the new one. */
  readonly old: string | null;
  /** False where nothing in this version acts on it; then setting it is told to the user. */
  readonly honoured: boolean;
  /** Why it changes nothing, in Celery as here, and what does instead; null where it does or will. */
  readonly inert: string | null;
  /** True for what Celery does not have. */
  readonly own: boolean;
}

interface SettingDetails {
  readonly old?: string;
  readonly honoured?: boolean;
  readonly inert?: string;
  readonly own?: boolean;
}

export function setting<Value, Input = Value>(
  rule: Rule<Value, Input>,
  fallback: NoInfer<Value>,
  doc: string,
  details: SettingDetails = {},
): Setting<Value, Input> {
  const { old = null, inert = null, honoured = inert === null, own = false } = details;
  if (typeof fallback === "object") Object.freeze(fallback);
  return { rule, default: fallback, doc, old, honoured, inert, own };
}

/** A setting that is read, checked and kept, and changes nothing yet. */
export function notYet<Value, Input = Value>(
  rule: Rule<Value, Input>,
  fallback: NoInfer<Value>,
  doc: string,
  details: SettingDetails = {},
): Setting<Value, Input> {
  return setting(rule, fallback, doc, { ...details, honoured: false });
}

/** What the program reads from a setting. */
export type ValueOf<S> = S extends Setting<infer Value, infer _> ? Value : never;

/** What a user may write for a setting. */
export type InputOf<S> = S extends Setting<infer _, infer Input> ? Input : never;
