import type { Broker } from "../broker/broker.ts";
import type { Whereabouts } from "../broker/whereabouts.ts";
import type { Call } from "../canvas/plan.ts";
import type { ByNode } from "../control/inspect.ts";
import type { TaskWhereabouts } from "../control/replies.ts";

/** Where a call is that should be under way. */
export type CallPlace =
  /** In the broker, which says where. */
  | Whereabouts
  /** A worker says that it has it: `active`, `reserved`, `scheduled` or `ready`. */
  | { readonly kind: "working"; readonly state: string; readonly node: string }
  /** In no queue, in nobody's hands, and with no worker. */
  | { readonly kind: "lost" }
  /** No worker has it, and the broker does not tell (RabbitMQ): it may wait in a queue, or be lost. */
  | { readonly kind: "untold" };

/** Where calls are, and what could not be found out. */
export interface CallPlaces {
  readonly places: ReadonlyMap<string, CallPlace>;
  /** Queues too long to be looked through to their end. */
  readonly unsearched: readonly string[];
  readonly doubts: readonly string[];
}

export interface CallPlacesParts {
  readonly broker: () => Promise<Broker>;
  /** Asks all workers which of these calls they have in hand, or know to wait in the broker for their time. */
  readonly ask: (ids: readonly string[]) => Promise<ByNode<Readonly<Record<string, TaskWhereabouts>>>>;
  /** The queues calls can wait in: those of the settings, and where this call is routed to. */
  readonly queuesOf: (calls: readonly Call[]) => readonly string[];
}

/**
 * Looks for calls in the broker, then asks the workers, for what is acknowledged early is with them alone, and
 * then looks in the broker again, for what they had meanwhile given back: a call that moves is seen once at least.
 */
export async function findCalls(parts: CallPlacesParts, calls: readonly Call[]): Promise<CallPlaces> {
  const places = new Map<string, CallPlace>();
  const unsearched = new Set<string>();
  const doubts: string[] = [];
  if (calls.length === 0) return { places, unsearched: [], doubts };
  const ids = calls.map(({ options }) => String(options.task_id));
  const queues = parts.queuesOf(calls);
  const broker = await parts.broker();
  const missing = (): string[] => ids.filter((id) => !places.has(id));
  const look = async (): Promise<boolean> => {
    const located = await broker.locate({ ids: missing(), queues });
    if (located.kind === "untold") return false;
    for (const [id, place] of located.places) places.set(id, place);
    for (const queue of located.unsearched) unsearched.add(queue);
    return true;
  };
  const tells = await look();
  const asked = ids.filter((id) => !/^(waiting|parked|dead)$/.test(places.get(id)?.kind ?? ""));
  if (asked.length > 0) {
    const answers = Object.entries((await parts.ask(asked)) ?? {});
    if (answers.length === 0 && missing().length > 0)
      doubts.push("no worker has answered: whether one runs any of these calls is not known");
    for (const [node, known] of answers) {
      for (const [id, [state]] of Object.entries(known))
        places.set(id, { kind: "working", state: String(state), node });
    }
  }
  if (tells && missing().length > 0) await look();
  if (!tells && missing().length > 0) {
    doubts.push(
      "RabbitMQ does not tell where a message is: what waits in it for its time is not seen, nor what a worker holds that " +
        "does not answer. It gives back what a worker held as soon as the connection of that one is gone",
    );
  }
  for (const id of missing()) places.set(id, { kind: tells ? "lost" : "untold" });
  return { places, unsearched: [...unsearched], doubts };
}
