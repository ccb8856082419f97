/**
 * The apps of this process, and what is shared among them: the one place that keeps state in a
 * module, because a shared task is written before there is any app to give it to (inventory A21).
 */

/** What an app has to be able to do to take part. */
export interface LivingApp {
  adopt(task: SharedDefinition): void;
}

/** A task of all apps, as it was given to `sharedTask`. */
export interface SharedDefinition {
  readonly name: string;
  readonly given: readonly unknown[];
}

const shared: SharedDefinition[] = [];
const apps = new Set<WeakRef<LivingApp>>();
let current: LivingApp | undefined;

/** A new app: gets every shared task there is and will be, and becomes the current one if it wants. */
export function joinApps(app: LivingApp, options: { readonly asCurrent: boolean }): void {
  for (const known of apps) if (known.deref() === undefined) apps.delete(known);
  apps.add(new WeakRef(app));
  if (options.asCurrent) current = app;
  for (const task of shared) app.adopt(task);
}

/** Gives a task to every app, those to come included. */
export function shareTask(task: SharedDefinition): void {
  shared.push(task);
  for (const app of apps) app.deref()?.adopt(task);
}

/** The app made last, unless another was made the current one. */
export const livingCurrent = (): LivingApp | undefined => current;

export function makeCurrent(app: LivingApp | undefined): void {
  current = app;
}
