import type { ParkedMessage } from "../../broker/broker.ts";
import { readTaskHeaders } from "../../protocol/task-message.ts";
import type { Panel } from "./panel.ts";
import type { ShownTask } from "./task-info.ts";

/** Most parked tasks that are shown. */
const mostParked = 1_000;

/** The tasks of this worker's queues that wait in the broker for their time, soonest first, as if they were in hand. */
export async function parkedTasks({ broker, consumer, logger }: Panel): Promise<readonly ShownTask[]> {
  const queues = consumer.queues.map(({ name }) => name);
  const parked = await broker.parkedMessages({ queues, limit: mostParked }).catch((error: unknown) => {
    logger.warn({ err: error }, "What is parked in the broker cannot be shown");
    return [];
  });
  return parked.flatMap((message) => shownOf(message) ?? []);
}

/** Null for what is no sound task. */
function shownOf({ message, address, due, redelivered }: ParkedMessage): ShownTask | null {
  try {
    const headers = readTaskHeaders(message);
    return {
      id: headers.id,
      name: headers.shadow ?? headers.task,
      message: { ...message, headers },
      delivery: { address, redelivered },
      phase: { name: "scheduled", due },
      policy: { acksLate: true },
    };
  } catch {
    return null;
  }
}
