/** What `configFromObject` reads of an object (inventory A48, A49). */
import { isRecord } from "./parse.ts";

/**
 * The attributes of a module, a class, an instance or a plain object, inherited ones and getters
 * too, without those that begin with `_`. Of a module whose default export is an object, the
 * fields of that object count as well.
 */
export function attributesOf(source: object): Record<string, unknown> {
  const found: Record<string, unknown> = Object.create(null);
  for (let at: object | null = source; at !== null && !isRoot(at); at = Object.getPrototypeOf(at) as object | null) {
    for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(at))) {
      const counts = descriptor.enumerable || descriptor.get !== undefined;
      if (counts && !name.startsWith("_") && !(name in found)) found[name] = Reflect.get(source, name);
    }
  }
  const { default: inner, ...rest } = found;
  return isRecord(inner) ? { ...attributesOf(inner), ...rest } : found;
}

const isRoot = (object: object): boolean => object === Object.prototype || object === Function.prototype;

/**
 * The attributes that begin with the namespace, without it. An upper-case namespace (`CELERY`)
 * takes upper-case names alone (`CELERY_TASK_ALWAYS_EAGER`) and gives them in lower case.
 */
export function withinNamespace(
  attributes: Readonly<Record<string, unknown>>,
  namespace: string,
): Record<string, unknown> {
  const prefix = namespace.endsWith("_") ? namespace : `${namespace}_`;
  const isUpper = prefix === prefix.toUpperCase();
  return Object.fromEntries(
    Object.entries(attributes)
      .filter(([name]) => name.startsWith(prefix) && (!isUpper || name === name.toUpperCase()))
      .map(([name, value]) => [isUpper ? name.slice(prefix.length).toLowerCase() : name.slice(prefix.length), value]),
  );
}
