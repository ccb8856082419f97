import { formatIso } from "../../util/iso8601.ts";
import type { Request } from "../request.ts";
import type { Panel, WorkerCommand } from "./panel.ts";
import { parkedTasks } from "./parked.ts";
import { type ShownTask, taskInfo } from "./task-info.ts";

const infos = (panel: Panel, requests: Iterable<Request>, safe = false): Promise<unknown[]> =>
  Promise.all([...requests].map((request) => taskInfo(request, { ...panel, safe })));

/** Commands that show the tasks in hand. */
export const requestCommands: readonly WorkerCommand[] = [
  {
    name: "active",
    type: "inspect",
    alias: "dump_active",
    help: "List of tasks currently being executed.",
    run: (panel, { safe }) => infos(panel, panel.state.active, safe === true),
  },
  {
    name: "reserved",
    type: "inspect",
    alias: "dump_reserved",
    help: "List of currently reserved tasks, not including scheduled/active.",
    run: (panel) => infos(panel, panel.state.reserved),
  },
  {
    name: "scheduled",
    type: "inspect",
    alias: "dump_schedule",
    help: "List of currently scheduled ETA/countdown tasks.",
    run: async (panel) =>
      Promise.all(
        [...panel.state.scheduled, ...(await parkedTasks(panel))].map((request) => scheduled(panel, request)),
      ),
  },
  {
    name: "revoked",
    type: "inspect",
    alias: "dump_revoked",
    help: "List of revoked task-ids.",
    run: ({ revokes }) => revokes.ids(),
  },
  {
    name: "query_task",
    type: "inspect",
    variadic: "ids",
    signature: "[id1 [id2 [... [idN]]]]",
    help: "Query for task information by id.",
    required: ["ids"],
    async run(panel, { ids }) {
      const wanted = new Set([ids].flat());
      const inHand = [...panel.state.requests()].filter(({ id }) => wanted.has(id));
      for (const { id } of inHand) wanted.delete(id);
      const parked = wanted.size === 0 ? [] : await parkedTasks(panel);
      const found: ShownTask[] = [...inHand, ...parked.filter(({ id }) => wanted.has(id))];
      const entries = found.map(async (request) => [request.id, [stateOf(request), await taskInfo(request, panel)]]);
      return Object.fromEntries(await Promise.all(entries)) as unknown;
    },
  },
];

/** Celery's priority of what waits for its time (`worker/strategy.py`: `priority=6`). */
const etaPriority = 6;

async function scheduled(panel: Panel, request: ShownTask): Promise<unknown> {
  const { phase } = request;
  const eta = phase.name === "scheduled" ? formatIso(phase.due) : null;
  return { eta, priority: etaPriority, request: await taskInfo(request, panel) };
}

/** Whatever is neither reserved nor begun is ready, in Celery's words; what waits for its time is told apart here. */
function stateOf({ phase }: ShownTask): string {
  return phase.name === "active" || phase.name === "reserved" || phase.name === "scheduled" ? phase.name : "ready";
}
