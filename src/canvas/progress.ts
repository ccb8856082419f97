import { structured } from "../protocol/result-tuple.ts";
import type { SignatureDict } from "../protocol/signature.ts";
import { isReady } from "../protocol/states.ts";
import type { ResultTuple, TaskMeta } from "../protocol/task-meta.ts";
import { failedChainIds, planChordBody, planSuccess } from "./follow-up.ts";
import type { Call, Plan } from "./plan.ts";
import { signatureList, textOption } from "./signature.ts";

/** What is kept of a workflow when it is sent: enough to tell how far it is, and to go on from there. */
export interface WorkflowRecord {
  /** When it was sent, ISO 8601. */
  readonly sent: string;
  readonly calls: readonly Call[];
  readonly chords: Plan["chords"];
  readonly result: ResultTuple;
}

/** How far a workflow is. */
export interface Progress {
  /** Calls that have ended. */
  readonly ended: readonly { readonly id: string; readonly task: string; readonly state: string }[];
  /** Calls that should be under way, as plans that send them again. */
  readonly open: readonly { readonly id: string; readonly task: string; readonly state: string; readonly plan: Plan }[];
  /** Calls that will never run since something before them failed, and whose results do not say so yet. */
  readonly untold: readonly { readonly id: string; readonly because: TaskMeta }[];
  /** Chords that wait, by the id of their group. */
  readonly chords: readonly { readonly groupId: string; readonly size: number; readonly done: number }[];
}

/** A member of a chord that has ended. */
interface Part {
  readonly index: number | null;
  readonly meta: TaskMeta;
}

/**
 * Follows a workflow by its results, as its workers do: what each end sets going is planned anew,
 * with the ids it had from the beginning. Pure but for `load` and `newId`.
 */
export async function followWorkflow(
  record: WorkflowRecord,
  load: (id: string) => Promise<TaskMeta | undefined>,
  newId: () => string,
): Promise<Progress> {
  const ended: { id: string; task: string; state: string }[] = [];
  const open: { id: string; task: string; state: string; plan: Plan }[] = [];
  const untold: { id: string; because: TaskMeta }[] = [];
  const sizes = new Map<string, number>();
  const headers = new Map<string, ResultTuple>();
  const parts = new Map<string, Map<string, Part>>();
  const waiting: Call[] = [];
  const send = (plan: Pick<Plan, "calls" | "chords">): void => {
    for (const { groupId, size, header } of plan.chords) {
      sizes.set(groupId, size);
      if (header !== undefined) headers.set(groupId, header);
    }
    waiting.push(...plan.calls);
  };
  const fail = async (id: string, because: TaskMeta): Promise<void> => {
    const known = await load(id);
    if (known === undefined || !isReady(known.status)) untold.push({ id, because });
  };
  const count = async (call: Call, groupId: string | undefined, part: Part, id: string): Promise<void> => {
    const body = call.options.chord as SignatureDict | undefined;
    if (body === undefined || groupId === undefined) return;
    const all = parts.get(groupId) ?? new Map<string, Part>();
    parts.set(groupId, all.set(id, part));
    if (all.size < (sizes.get(groupId) ?? Number.POSITIVE_INFINITY)) return;
    const inOrder = [...all.values()].sort((a, b) => (a.index ?? Infinity) - (b.index ?? Infinity));
    const failed = inOrder.find(({ meta }) => meta.status !== "SUCCESS");
    if (failed === undefined) {
      const header = headers.get(groupId);
      const results =
        header === undefined
          ? inOrder.map(({ meta }) => meta.result)
          : (structured(header, new Map(inOrder.map(({ meta }) => [meta.task_id, meta.result]))) as unknown[]);
      send(planChordBody(body, results, { id, root_id: textOption(call.options, "root_id") ?? id }, { newId }));
    } else for (const { taskId } of failedChainIds({ chain: [body] })) await fail(taskId, failed.meta);
  };

  send(record);
  for (let call = waiting.shift(); call !== undefined; call = waiting.shift()) {
    const { options, task } = call;
    const id = String(options.task_id);
    const meta = await load(id);
    if (meta === undefined || !isReady(meta.status)) {
      const plan = { calls: [call], chords: [], result: [[id, null], null] as ResultTuple, children: [] };
      open.push({ id, task, state: meta?.status ?? "PENDING", plan });
      continue;
    }
    ended.push({ id, task, state: meta.status });
    const chain = signatureList(options.chain);
    const request = { id, root_id: textOption(options, "root_id") ?? id };
    const index = typeof options.group_index === "number" ? options.group_index : null;
    if (meta.status === "SUCCESS") {
      for (const plan of planSuccess(request, { chain }, meta.result, { newId }).plans) send(plan);
    } else for (const { taskId } of failedChainIds({ chain })) await fail(taskId, meta);
    await count(call, textOption(options, "group_id"), { index, meta }, id);
  }
  const chords = [...sizes]
    .map(([groupId, size]) => ({ groupId, size, done: parts.get(groupId)?.size ?? 0 }))
    .filter(({ size, done }) => done < size);
  return { ended, open, untold, chords };
}
