import { createHash, randomUUID } from "node:crypto";
import type { ResultBackend } from "../backend/backend.ts";
import { planAddition, planReplacement } from "../canvas/follow-up.ts";
import type { Plan } from "../canvas/plan.ts";
import type { Settings } from "../config/settings.ts";
import { Ignore, ImproperlyConfigured } from "../errors.ts";
import { type SignatureDict, type SignatureLike, signatureDict } from "../protocol/signature.ts";
import { type CurrentRun, currentRun } from "../task/current.ts";
import type { CallSender } from "../task/sender.ts";
import type { Ready } from "./ready.ts";
import { untilSent } from "./until-sent.ts";

export interface BranchingParts {
  readonly settings: Settings;
  readonly backend: () => Promise<ResultBackend>;
  readonly sender: CallSender;
}

/** What a running task does to the workflow it is part of: `replace` and `addToChord`. */
export class Branching {
  readonly #parts: BranchingParts;
  readonly #ready: Ready;
  readonly #run: CurrentRun;
  #added = 0;

  constructor(parts: BranchingParts, ready: Ready, run: CurrentRun) {
    this.#parts = parts;
    this.#ready = ready;
    this.#run = run;
  }

  /** Sends what takes the task's place, then throws `Ignore`: the result of the task is that of its replacement. */
  async replace(signature: SignatureLike): Promise<never> {
    const dict = signatureDict(signature);
    if (dict.options.chord) {
      throw new ImproperlyConfigured("A signature replacing a task must not be part of a chord");
    }
    if (dict.subtask_type === "chain" && (dict.kwargs.tasks as readonly unknown[]).length === 0) {
      throw new ImproperlyConfigured("Cannot replace with an empty chain");
    }
    await this.#ready.task.handlers.onReplace?.(this.#run.context(), dict);
    const [, , embed] = this.#ready.body;
    const plan = planReplacement(this.#ready.job.message.headers, embed, dict, this.#options());
    await this.#send(plan);
    throw new Ignore("Replaced by new task");
  }

  /** Has the chord this task is a member of wait for one more; gives the id of its end. */
  async addToChord(signature: SignatureLike, lazy: boolean): Promise<SignatureDict> {
    const [, , embed] = this.#ready.body;
    const { headers } = this.#ready.job.message;
    if (embed.chord === null || headers.group === null) {
      throw new ImproperlyConfigured("Current task is not member of any chord");
    }
    // The same id when the task runs again: it is counted once, however often it was added.
    this.#added += 1;
    const id = idFrom(`${headers.id} ${this.#added}`);
    const added = planAddition(headers, embed.chord, signatureDict(signature), { id, ...this.#options() });
    const backend = await this.#parts.backend();
    await backend.openChord(headers.group, added.parts, { grow: added.id });
    if (!lazy) await this.#send(added.plan);
    return added.signature;
  }

  #options() {
    const priority = this.#parts.settings.taskInheritParentPriority ? this.#run.priority : null;
    const replyTo = this.#ready.job.message.properties.reply_to || undefined;
    return { priority, newId: randomUUID, replyTo };
  }

  async #send(plan: Plan): Promise<void> {
    this.#run.children.push(...plan.children);
    const calls = plan.calls.map((call) => untilSent({ ...call, options: { ...call.options, add_to_parent: false } }));
    await currentRun.run(this.#run, () => this.#parts.sender.sendPlan({ ...plan, calls }));
  }
}

/** A UUID that is always the same for the same text. */
function idFrom(text: string): string {
  const hex = createHash("sha1").update(text).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
