import type { TaskDefinition } from "../../src/app/task-handle.ts";
import { completeOptions } from "../../src/app/task-options.ts";
import { defaultSettings } from "../../src/config/settings.ts";
import type { TaskOptions } from "../../src/task/task.ts";

/** A task's name and complete options, without an app around it. */
export function taskWith(definition: TaskDefinition): { readonly name: string; readonly options: TaskOptions } {
  return {
    name: "proj.task",
    options: completeOptions("proj.task", definition, { bind: false, typing: true }, defaultSettings),
  };
}
