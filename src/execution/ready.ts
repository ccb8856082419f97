import type { TaskBody } from "../protocol/task-message.ts";
import type { Task } from "../task/task.ts";
import type { Job } from "./job.ts";

/** A job whose arguments are in hand and fit: nothing can go wrong any more but the task itself. */
export interface Ready {
  readonly kind: "ready";
  readonly job: Job;
  readonly task: Task;
  readonly body: TaskBody;
  /** Arguments in the order the function takes them. */
  readonly bound: readonly unknown[];
}
