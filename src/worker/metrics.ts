import type { Broker, Queue } from "../broker/broker.ts";
import type { Outcome } from "../execution/outcome.ts";
import type { Pool } from "../pool/pool.ts";
import { waitingSince } from "../protocol/task-message.ts";
import type { Request } from "./request.ts";
import type { Settlement } from "./settle.ts";
import type { WorkerState } from "./state.ts";
import type { HowRevoked, TaskWatcher } from "./task-events.ts";

type PromClient = typeof import("prom-client");

/** What the figures are read from when they are asked for. */
export interface MetricsSources {
  readonly broker: Broker;
  readonly connection: { readonly up: boolean };
  readonly pool: Pool;
  readonly state: WorkerState;
  readonly queues: () => readonly Queue[];
}

/** A worker's figures for Prometheus. */
export interface Metrics {
  /** Counts as tasks go through their lives. */
  readonly tasks: TaskWatcher;
  /** Makes what gives all figures as text, in Prometheus's format. */
  text(sources: MetricsSources): () => Promise<string>;
}

/** Bounds of the histograms, in seconds: from short tasks to long ones. */
const buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 3_600];

/** Seconds the broker's own figures are good for: scrapers at one moment ask it once. */
const fresh = 1;

/** Loads prom-client, which nobody else does, and makes the figures in a registry of their own. */
export async function createMetrics(): Promise<Metrics> {
  const prometheus = await import("prom-client");
  const client = "default" in prometheus ? (prometheus.default as PromClient) : prometheus;
  const registry = new client.Registry();
  const tasks = new TaskMetrics(client, registry);
  return {
    tasks,
    text(sources) {
      const gauges = new Gauges(client, registry, sources, tasks);
      return async () => {
        await gauges.refresh();
        return await registry.metrics();
      };
    },
  };
}

/** Counters and histograms, by the name a task is registered under: what messages say of themselves could be anything. */
class TaskMetrics implements TaskWatcher {
  readonly #counters;
  readonly #wait;
  readonly #run;
  readonly #received = new WeakMap<Request, number>();
  /** Since when the last message taken from each queue could have run, in seconds since 1970. */
  readonly lastTaken = new Map<string, number>();

  constructor(client: PromClient, registry: InstanceType<PromClient["Registry"]>) {
    const counter = (name: string, help: string) =>
      new client.Counter({
        name: `tq_tasks_${name}_total`,
        help,
        labelNames: ["task"] as const,
        registers: [registry],
      });
    this.#counters = {
      received: counter("received", "Tasks taken from the broker."),
      started: counter("started", "Tasks begun."),
      succeeded: counter("succeeded", "Tasks that returned."),
      failed: counter("failed", "Tasks that raised, or could not be run."),
      retried: counter("retried", "Tries that asked for another one."),
      rejected: counter("rejected", "Tasks given back or to the dead letters."),
      revoked: counter("revoked", "Tasks revoked, expired or terminated."),
      lost: counter("lost", "Tasks whose process died under them."),
    };
    const histogram = (name: string, help: string) =>
      new client.Histogram({ name, help, buckets, labelNames: ["task"] as const, registers: [registry] });
    this.#wait = histogram("tq_task_wait_seconds", "From when it could have begun to when it did.");
    this.#run = histogram("tq_task_run_seconds", "How long tasks ran.");
  }

  received(request: Request): void {
    this.#received.set(request, Date.now() / 1000);
    const since = waitingSince(request.message.headers);
    if (since !== null) this.lastTaken.set(request.delivery.queue, since);
    this.#counters.received.inc({ task: request.task.name });
  }

  started(request: Request): void {
    const task = request.task.name;
    const since = waitingSince(request.message.headers) ?? this.#received.get(request);
    this.#counters.started.inc({ task });
    if (since !== undefined) this.#wait.observe({ task }, Math.max(0, Date.now() / 1000 - since));
  }

  ended({ task: { name: task } }: Request, outcome: Outcome, settlement: Settlement): void {
    const counters = this.#counters;
    if ("runtime" in outcome) this.#run.observe({ task }, outcome.runtime);
    if (outcome.kind === "lost") counters.lost.inc({ task });
    if (settlement !== "ack") counters.rejected.inc({ task });
    switch (outcome.kind) {
      case "success":
        return counters.succeeded.inc({ task });
      case "retry":
        return counters.retried.inc({ task });
      case "failure":
      case "invalid":
      case "time-limit":
        return counters.failed.inc({ task });
      case "lost":
        if (settlement !== "requeue") counters.failed.inc({ task });
        return;
      case "ignore":
      case "reject":
      case "terminated": // counted with its revocation
    }
  }

  revoked({ task }: Request, _how: HowRevoked): void {
    this.#counters.revoked.inc({ task: task.name });
  }

  /** Its end is counted, or it comes again. */
  cancelled(): void {}

  unknown(): void {
    this.#counters.failed.inc({ task: "unknown" });
  }
}

/** What is as it is at this moment. The broker is asked for its part; while it is away only that part is missing. */
class Gauges {
  readonly #sources: MetricsSources;
  readonly #tasks: Pick<TaskMetrics, "lastTaken">;
  /** When each queue was last seen empty, in seconds since 1970. */
  readonly #seenEmpty = new Map<string, number>();
  readonly #gauges;
  #refreshed: { readonly at: number; readonly done: Promise<void> } | undefined;

  constructor(
    client: PromClient,
    registry: InstanceType<PromClient["Registry"]>,
    sources: MetricsSources,
    tasks: Pick<TaskMetrics, "lastTaken">,
  ) {
    this.#sources = sources;
    this.#tasks = tasks;
    const { state, pool, connection } = sources;
    const gauge = (name: string, help: string, read?: () => number) =>
      new client.Gauge({
        name,
        help,
        registers: [registry],
        ...(read === undefined
          ? {}
          : {
              collect() {
                this.set(read());
              },
            }),
      });
    gauge("tq_tasks_active", "Tasks running.", () => state.active.size);
    gauge("tq_tasks_reserved", "Tasks waiting in this worker for a slot.", () => state.reserved.size);
    gauge("tq_tasks_scheduled", "Tasks waiting in this worker for their time.", () => state.scheduled.size);
    gauge(
      "tq_messages_unacked",
      "Messages in hand: not acknowledged yet, or running after an early acknowledgement.",
      () => state.active.size + state.reserved.size + state.scheduled.size,
    );
    gauge("tq_pool_slots", "Tasks the pool runs at once.", () => pool.slots);
    gauge("tq_pool_slots_busy", "Slots that run a task.", () => Math.min(pool.slots, state.active.size));
    gauge("tq_broker_connected", "1 while the broker is connected.", () => (connection.up ? 1 : 0));
    gauge("process_resident_memory_bytes", "Memory of the main process.", () => process.memoryUsage.rss());
    gauge("process_start_time_seconds", "When the worker started.", () => state.startedAt / 1000);
    const ended = new client.Counter({
      name: "tq_pool_restarts_total",
      help: "Children or threads that have ended and were replaced, or will be.",
      registers: [registry],
      collect() {
        this.reset();
        this.inc(pool.ended ?? 0);
      },
    });
    void ended; // lives in the registry
    const byQueue = (name: string, help: string) =>
      new client.Gauge({ name, help, labelNames: ["queue"] as const, registers: [registry] });
    this.#gauges = {
      length: byQueue("tq_queue_length", "Messages waiting."),
      age: byQueue("tq_queue_oldest_message_age_seconds", "Since when the next message could have run."),
      parked: gauge("tq_messages_parked", "Messages the broker keeps until they are due."),
      dead: gauge("tq_dead_letters", "Messages in the dead-letter store."),
    };
  }

  async refresh(): Promise<void> {
    const now = performance.now() / 1000;
    if (this.#refreshed === undefined || now - this.#refreshed.at > fresh) {
      this.#refreshed = { at: now, done: this.#ask().catch(() => this.#forget()) };
    }
    await this.#refreshed.done;
  }

  async #ask(): Promise<void> {
    const { broker, connection, queues } = this.#sources;
    if (!connection.up) return this.#forget();
    const { length, age, parked, dead } = this.#gauges;
    const perQueue = queues().map(async ({ name: queue }) => {
      const [size, next] = await Promise.all([broker.size(queue), broker.peek(queue)]);
      length.set({ queue }, size);
      const since = next === null ? this.#sinceAtMost(queue) : waitingSince(next.headers);
      if (size === 0) this.#seenEmpty.set(queue, Date.now() / 1000);
      if (size === 0) age.set({ queue }, 0);
      else if (since !== null) age.set({ queue }, Math.max(0, Date.now() / 1000 - since));
      else age.remove({ queue });
    });
    const [parkedCount, deadCount] = await Promise.all([
      broker.parked(),
      broker.deadLetters.count(),
      Promise.all(perQueue),
    ]);
    parked.set(parkedCount);
    dead.set(deadCount);
  }

  /**
   * Where the broker shows no message: what waits came after the one taken last, and after the queue
   * was seen empty. So the age is this at most; of many workers the least is the nearest.
   */
  #sinceAtMost(queue: string): number | null {
    const known = [this.#tasks.lastTaken.get(queue), this.#seenEmpty.get(queue)].filter((one) => one !== undefined);
    return known.length === 0 ? null : Math.max(...known);
  }

  /** An old figure would be a lie. */
  #forget(): void {
    const { length, age, parked, dead } = this.#gauges;
    length.reset();
    age.reset();
    parked.set(Number.NaN);
    dead.set(Number.NaN);
  }
}
