import { dirname } from "node:path";
import type { Tq } from "../app/app.ts";
import { ModuleLoader } from "../app/module-loader.ts";
import { ImproperlyConfigured } from "../errors.ts";
import type { AutoscaleRule } from "./autoscaler.ts";

/** Celery's class of this name, under which configurations know the built-in rule. */
const builtIn = "celery.worker.autoscale:Autoscaler";

/**
 * The rule `workerAutoscaler` names: a module, found from the app's folder, that exports a function
 * `autoscale(facts)`, or has it as its default. Null for the built-in one. Rejects with
 * `ImproperlyConfigured` when there is none.
 */
export async function loadAutoscaler({ conf, file }: Tq, cwd: string): Promise<AutoscaleRule | null> {
  const { workerAutoscaler } = conf.settings;
  if (workerAutoscaler === builtIn) return null;
  const module = await new ModuleLoader({ cwd }).importModule(workerAutoscaler, file === null ? cwd : dirname(file));
  const rule = module.autoscale ?? module.default;
  if (typeof rule === "function") return rule as AutoscaleRule;
  throw new ImproperlyConfigured(
    `the module ${workerAutoscaler} (workerAutoscaler) must export a function \`autoscale(facts)\` that returns a number of children, got: ${Object.keys(module).join(", ") || "no exports"}`,
  );
}
