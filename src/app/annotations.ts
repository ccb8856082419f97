import { toCamelCase } from "../config/names.ts";
import { ImproperlyConfigured } from "../errors.ts";
import { type HandlerName, handlerNames, type TaskHandlers } from "../task/handlers.ts";
import type { TaskDefinition } from "./task-handle.ts";

/** Attributes of tasks, by task name; `*` stands for all. */
type AnnotationMap = Readonly<Record<string, Readonly<Record<string, unknown>>>>;
/** Decides for itself. */
interface Annotator {
  annotate(task: { readonly name: string }): Readonly<Record<string, unknown>> | null | undefined;
}

/**
 * A task's definition with what `taskAnnotations` says of it, which is stronger (inventory B37): a
 * record by name, an object with `annotate(task)`, or a list of those. A key such as
 * `@onFailure` wraps the handler: its value gets the one there is and gives the one to use.
 *
 * Throws `ImproperlyConfigured` for annotations of another form.
 */
export function annotated(name: string, definition: TaskDefinition, annotations: unknown): TaskDefinition {
  if (annotations === null || annotations === undefined) return definition;
  const all = Array.isArray(annotations) ? annotations : [annotations];
  const changed: Record<string, unknown> = { ...definition };
  for (const one of all) {
    for (const attributes of attributesOf(one, name)) {
      for (const [key, value] of Object.entries(attributes)) apply(changed, key, value);
    }
  }
  return changed;
}

function attributesOf(annotation: unknown, name: string): readonly Readonly<Record<string, unknown>>[] {
  if (typeof annotation !== "object" || annotation === null) {
    throw new ImproperlyConfigured(
      `taskAnnotations must be a record by task name, an object with annotate(task), or a list of those, got: ${String(annotation)}`,
    );
  }
  if (typeof (annotation as Partial<Annotator>).annotate === "function") {
    const given = (annotation as Annotator).annotate({ name });
    return given ? [given] : [];
  }
  const byName = annotation as AnnotationMap;
  return ["*", name].flatMap((key) => (Object.hasOwn(byName, key) ? [byName[key] ?? {}] : []));
}

function apply(definition: Record<string, unknown>, key: string, value: unknown): void {
  if (!key.startsWith("@")) {
    definition[toCamelCase(key)] = value;
    return;
  }
  const wrapped = toCamelCase(key.slice(1));
  if (!isHandler(wrapped) || typeof value !== "function") {
    throw new ImproperlyConfigured(
      `taskAnnotations: ${key} must name a handler to wrap (${handlerNames.map((one) => `@${one}`).join(", ")}) and give a function, got: ${typeof value}`,
    );
  }
  definition[wrapped] = (value as (original: unknown) => unknown)((definition as TaskHandlers)[wrapped]);
}

const isHandler = (name: string): name is HandlerName => (handlerNames as readonly string[]).includes(name);
