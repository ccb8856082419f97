import type { Publication, Queue } from "../broker/broker.ts";
import type { Call, Plan } from "../canvas/plan.ts";
import type { CallSender } from "../task/sender.ts";
import { untilSent } from "./until-sent.ts";

/** What follows a task: for whoever ends its message to send in the same step. */
export interface HandOver {
  readonly publications: readonly Publication[];
  readonly queues: readonly Queue[];
  /** A chord that has fired: forgotten once the step is made. */
  readonly firedChord: string | null;
}

/**
 * Where the followers of one task go: to the broker at once, or into a hand-over. The first is
 * what can be done when messages and results are in different places; a crash in between sends
 * followers twice, because the task runs again, and never loses one.
 */
export interface Followers {
  send(calls: readonly Call[]): Promise<void>;
  plan(plan: Plan): Promise<void>;
  /** Called when the body of a chord was sent. */
  fired(groupId: string, forget: () => Promise<void>): Promise<void>;
  /** What is left for somebody else to send, for the outcome. */
  handOver(): { readonly handOver?: HandOver };
}

/** Sends followers until they are sent: with their predecessor acknowledged they exist nowhere else. */
export function sentAtOnce(sender: CallSender): Followers {
  return {
    async send(calls) {
      for (const call of calls) await sender.send(untilSent(call));
    },
    plan: (plan) => sender.sendPlan({ ...plan, calls: plan.calls.map(untilSent) }),
    fired: (_groupId, forget) => forget(),
    handOver: () => ({}),
  };
}

/** Makes followers ready, to leave in the step that stores the result and ends the message. */
export function handedOver(sender: Required<Pick<CallSender, "makeReady" | "openChords">>): Followers {
  const publications: Publication[] = [];
  const queues = new Map<string, Queue>();
  let firedChord: string | null = null;
  const send = async (calls: readonly Call[]): Promise<void> => {
    const ready = await sender.makeReady(calls);
    publications.push(...ready.publications);
    for (const queue of ready.queues) queues.set(queue.name, queue);
  };
  return {
    send,
    async plan(plan) {
      await sender.openChords(plan);
      await send(plan.calls);
    },
    async fired(groupId) {
      firedChord = groupId;
    },
    handOver: () =>
      publications.length === 0 ? {} : { handOver: { publications, queues: [...queues.values()], firedChord } },
  };
}
