import type { ReceivedEvent } from "../protocol/event.ts";
import { isReady, precedence } from "../protocol/states.ts";
import type { WorkerView } from "./worker-view.ts";

/** The states the events of a task's life stand for; an event of one's own is a state of one's own. */
const states: Readonly<Record<string, string>> = {
  sent: "PENDING",
  received: "RECEIVED",
  started: "STARTED",
  failed: "FAILURE",
  retried: "RETRY",
  succeeded: "SUCCESS",
  revoked: "REVOKED",
  rejected: "REJECTED",
};

/** When each step was, by its sender's clock: seconds since 1970. */
export type TaskStep = "sent" | "received" | "started" | "succeeded" | "failed" | "retried" | "revoked" | "rejected";

/** What a `task-received` that comes late still fills in: no other event says it. */
const fromReceived: ReadonlySet<string> = new Set([
  "name",
  "args",
  "kwargs",
  "parent_id",
  "root_id",
  "retries",
  "eta",
  "expires",
]);

/** Names on the wire and here. */
const fieldNames: Readonly<Record<string, keyof TaskFields>> = {
  name: "name",
  args: "args",
  kwargs: "kwargs",
  eta: "eta",
  expires: "expires",
  retries: "retries",
  result: "result",
  exception: "exception",
  traceback: "traceback",
  runtime: "runtime",
  exchange: "exchange",
  routing_key: "routingKey",
  queue: "queue",
  root_id: "rootId",
  parent_id: "parentId",
};

/** What events say of a task; null where none has said it. */
export interface TaskFields {
  name: string | null;
  /** As text, as Python shows it. */
  args: string | null;
  kwargs: string | null;
  eta: string | null;
  expires: string | null;
  retries: number | null;
  /** As text. */
  result: string | null;
  exception: string | null;
  traceback: string | null;
  /** Seconds. */
  runtime: number | null;
  exchange: string | null;
  routingKey: string | null;
  queue: string | null;
  rootId: string | null;
  parentId: string | null;
}

/** The fields `info` shows, in Celery's order. */
const infoFields: readonly (keyof TaskFields)[] = [
  "args",
  "kwargs",
  "retries",
  "result",
  "eta",
  "runtime",
  "expires",
  "exception",
  "exchange",
  "routingKey",
  "rootId",
  "parentId",
];

/** A task as its events show it, in whatever order they came (protocol 12.4). */
export class TaskView implements TaskFields {
  readonly uuid: string;
  state = "PENDING";
  clock = 0;
  /** When the event was sent that gave it its state; seconds since 1970. */
  timestamp: number | null = null;
  /** Node that has it; null while nobody has received it. */
  worker: WorkerView | null = null;
  /** Process that sent it, where `task-sent` was told. */
  client: string | null = null;
  readonly steps: { [Step in TaskStep]?: number } = {};
  /** Ids of the calls it has made. */
  readonly children = new Set<string>();
  name: string | null = null;
  args: string | null = null;
  kwargs: string | null = null;
  eta: string | null = null;
  expires: string | null = null;
  retries: number | null = null;
  result: string | null = null;
  exception: string | null = null;
  traceback: string | null = null;
  runtime: number | null = null;
  exchange: string | null = null;
  routingKey: string | null = null;
  queue: string | null = null;
  rootId: string | null = null;
  parentId: string | null = null;

  constructor(uuid: string) {
    this.uuid = uuid;
  }

  get id(): string {
    return this.uuid;
  }

  get ready(): boolean {
    return isReady(this.state);
  }

  /** Process its last event came from. */
  get origin(): string | null {
    return this.worker === null ? this.client : this.worker.id;
  }

  event(subject: string, event: ReceivedEvent): void {
    const known = Object.hasOwn(states, subject) ? states[subject] : undefined;
    if (known !== undefined) this.steps[subject as TaskStep] = event.timestamp;
    const state = known ?? subject.toUpperCase();
    const late = state !== "RETRY" && this.state !== "RETRY" && precedence(state) > precedence(this.state);
    if (!late) {
      this.state = state;
      this.timestamp = event.timestamp;
      this.clock = event.clock;
    }
    // What came late may fill in what only it says, and nothing else if it is not a reception.
    this.#learn(event, late && state === "RECEIVED" ? fromReceived : null);
  }

  /** What there is to show, by names; without what nobody has said. */
  info(fields: readonly (keyof TaskFields)[] = infoFields): Readonly<Partial<TaskFields>> {
    return Object.fromEntries(fields.map((key) => [key, this[key]] as const).filter(([, value]) => value !== null));
  }

  #learn(event: ReceivedEvent, only: ReadonlySet<string> | null): void {
    for (const [wire, own] of Object.entries(fieldNames)) {
      const value = event[wire];
      if (value === undefined || value === null || (only !== null && !only.has(wire))) continue;
      const wanted = own === "retries" || own === "runtime" ? "number" : "string";
      if (typeof value === wanted) (this as unknown as Record<string, unknown>)[own] = value;
      else if (wanted === "string") (this as unknown as Record<string, unknown>)[own] = JSON.stringify(value);
    }
  }
}
