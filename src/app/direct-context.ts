import { blankRequest } from "../execution/blank-request.ts";
import { RunningTask } from "../execution/task-context.ts";
import type { Logger } from "../log.ts";
import type { TaskContext } from "../task/context.ts";
import type { Task } from "../task/task.ts";

/** The context of a task that is simply called: no message, no worker, nothing stored. */
export function directContext(task: Task, args: readonly unknown[], logger: Logger): TaskContext {
  const request = blankRequest({ task: task.name, args });
  return new RunningTask({
    name: task.name,
    task: task.instance,
    request: () => request,
    logger,
    storeState: async () => undefined,
    sendEvent: async () => undefined,
  });
}
