import { ImproperlyConfigured } from "../errors.ts";
import { Tq } from "./app.ts";
import { livingCurrent, shareTask } from "./living-apps.ts";
import type { TaskHandle } from "./task-handle.ts";
import type { TaskMaker } from "./task-maker.ts";

/**
 * The app calls go to that name none: the one made last, or made so by `setAsCurrent()`; when
 * there is none, one with default settings (inventory A7).
 */
export function currentApp(): Tq {
  return (livingCurrent() as Tq | undefined) ?? new Tq("default");
}

/**
 * A task for every app, those that exist and those to come: for libraries, which know no app.
 * Takes what `app.task` takes, with a name, which is the same in every app. Calls go to the current app's
 * copy. Throws `ImproperlyConfigured` without a name.
 */
export const sharedTask: TaskMaker = ((...given: readonly unknown[]) => {
  const options = given.find((part) => typeof part === "object" && part !== null) as { name?: string } | undefined;
  const fn = given.at(-1);
  const name = typeof given[0] === "string" ? given[0] : options?.name;
  if (!name || typeof fn !== "function") {
    throw new ImproperlyConfigured(
      'a shared task needs a name, the same in every app: sharedTask("lib.add", (x, y) => …)',
    );
  }
  shareTask({ name, given: [name, ...given.filter((part) => typeof part !== "string")] });
  const handle = (): TaskHandle<never[]> => {
    const found = currentApp().handle(name);
    if (!found) throw new ImproperlyConfigured(`the current app has another task named ${name}`);
    return found as TaskHandle<never[]>;
  };
  return new Proxy(() => undefined, {
    apply: (_target, _self, args: never[]) => handle()(...args),
    get: (_target, key) => Reflect.get(handle(), key),
    has: (_target, key) => Reflect.has(handle(), key),
  });
}) as TaskMaker;
