import { RunningTask } from "../execution/task-context.ts";
import type { Logger } from "../log.ts";
import type { TaskContext, TaskRequest } from "../task/context.ts";
import type { Task } from "../task/task.ts";

/** The context of a task that is simply called: no message, no worker, nothing stored. */
export function directContext(task: Task, args: readonly unknown[], logger: Logger): TaskContext {
  const request: TaskRequest = {
    id: "",
    task: task.name,
    args,
    kwargs: {},
    retries: 0,
    isEager: false,
    calledDirectly: true,
    eta: null,
    expires: null,
    hostname: null,
    origin: null,
    deliveryInfo: null,
    replyTo: null,
    correlationId: null,
    timelimit: [null, null],
    callbacks: null,
    errbacks: null,
    chain: null,
    chord: null,
    rootId: null,
    parentId: null,
    group: null,
    groupIndex: null,
    shadow: null,
    ignoreResult: false,
    replacedTaskNesting: 0,
    stamps: {},
    stampedHeaders: null,
    headers: {},
    children: [],
    properties: {},
    lang: "js",
    argsrepr: "",
    kwargsrepr: "",
    utc: true,
  };
  return new RunningTask({
    name: task.name,
    task: task.instance,
    request: () => request,
    logger,
    storeState: async () => undefined,
    sendEvent: async () => undefined,
  });
}
