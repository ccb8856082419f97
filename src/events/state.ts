import type { ReceivedEvent } from "../protocol/event.ts";
import { groupOf } from "../protocol/event.ts";
import { TaskView } from "./task-view.ts";
import { WorkerView } from "./worker-view.ts";

export interface StateOptions {
  /** Called with each event before it is taken in. */
  readonly callback?: (state: State, event: ReceivedEvent) => void;
  /** Beyond this the worker first seen is forgotten; default 5000. */
  readonly maxWorkersInMemory?: number;
  /** Beyond this the task first seen is forgotten; default 10000. */
  readonly maxTasksInMemory?: number;
  readonly onNodeJoin?: (worker: WorkerView) => void;
  readonly onNodeLeave?: (worker: WorkerView) => void;
  /** A node's clock and ours disagree by so many seconds; told once for each node. */
  readonly onDrift?: (hostname: string, drift: number, event: ReceivedEvent) => void;
}

/**
 * A cluster as its events show it: workers and tasks, in memory, in bounds. The same as Celery's
 * `app.events.State`; does no I/O and has no clock but for asking whether a worker is alive.
 */
export class State {
  readonly workers = new Map<string, WorkerView>();
  readonly tasks = new Map<string, TaskView>();
  /** Events taken in. */
  eventCount = 0;
  /** Tasks received. */
  taskCount = 0;
  readonly #options: StateOptions;
  readonly #types = new Set<string>();
  /** Children of tasks not seen yet. */
  readonly #orphans = new Map<string, Set<string>>();
  readonly #drifting = new Set<string>();

  constructor(options: StateOptions = {}) {
    this.#options = options;
  }

  event(event: ReceivedEvent): void {
    this.eventCount += 1;
    this.#options.callback?.(this, event);
    const group = groupOf(event.type);
    const subject = event.type.slice(group.length + 1);
    if (group === "worker") this.#workerEvent(subject, event);
    else if (group === "task") this.#taskEvent(subject, event);
  }

  #workerEvent(subject: string, event: ReceivedEvent): void {
    const { onNodeJoin, onNodeLeave } = this.#options;
    const known = this.workers.get(event.hostname);
    const worker = known ?? new WorkerView(event.hostname);
    if (subject === "offline") {
      worker.event(subject, event);
      this.workers.delete(event.hostname);
      onNodeLeave?.(worker);
      return;
    }
    if (known === undefined) this.#addWorker(worker);
    this.#noteDrift(worker.event(subject, event), event);
    if (known === undefined || subject === "online") onNodeJoin?.(worker);
  }

  #taskEvent(subject: string, event: ReceivedEvent): void {
    const uuid = event.uuid as string;
    let task = this.tasks.get(uuid);
    if (task === undefined) {
      task = new TaskView(uuid);
      this.tasks.set(uuid, task);
      if (this.tasks.size > (this.#options.maxTasksInMemory ?? 10_000)) deleteFirst(this.tasks);
    }
    if (subject === "sent") task.client = event.hostname;
    else {
      let worker = this.workers.get(event.hostname);
      if (worker === undefined) {
        worker = new WorkerView(event.hostname);
        this.#addWorker(worker);
      }
      task.worker = worker;
      this.#noteDrift(worker.heard(event), event);
    }
    if (subject === "received") this.taskCount += 1;
    task.event(subject, event);
    if (task.name !== null) this.#types.add(task.name);
    this.#relate(task);
  }

  #addWorker(worker: WorkerView): void {
    this.workers.set(worker.hostname, worker);
    if (this.workers.size > (this.#options.maxWorkersInMemory ?? 5_000)) deleteFirst(this.workers);
  }

  #noteDrift(drift: number | null, event: ReceivedEvent): void {
    if (drift === null || this.#drifting.has(event.hostname)) return;
    this.#drifting.add(event.hostname);
    this.#options.onDrift?.(event.hostname, drift, event);
  }

  /** A retried task is its own parent on the wire, and no child of itself here. */
  #relate(task: TaskView): void {
    const { uuid, parentId } = task;
    if (parentId !== null && parentId !== uuid) {
      const parent = this.tasks.get(parentId);
      if (parent) parent.children.add(uuid);
      else {
        const waiting = this.#orphans.get(parentId) ?? new Set<string>();
        this.#orphans.set(parentId, waiting.add(uuid));
        if (this.#orphans.size > (this.#options.maxTasksInMemory ?? 10_000)) deleteFirst(this.#orphans);
      }
    }
    for (const child of this.#orphans.get(uuid) ?? []) task.children.add(child);
    this.#orphans.delete(uuid);
  }

  getOrCreateWorker(hostname: string): WorkerView {
    const worker = this.workers.get(hostname) ?? new WorkerView(hostname);
    if (!this.workers.has(hostname)) this.#addWorker(worker);
    return worker;
  }

  /** Tasks by their last event, the newest first unless `reverse` is false; by Lamport clock, then by time. */
  tasksByTime({ limit, reverse = true }: { readonly limit?: number; readonly reverse?: boolean } = {}): TaskView[] {
    const ordered = [...this.tasks.values()].sort(byClock);
    if (reverse) ordered.reverse();
    return limit === undefined ? ordered : ordered.slice(0, limit);
  }

  tasksByType(name: string, options: { readonly limit?: number; readonly reverse?: boolean } = {}): TaskView[] {
    return this.#some(options, (task) => task.name === name);
  }

  tasksByWorker(hostname: string, options: { readonly limit?: number; readonly reverse?: boolean } = {}): TaskView[] {
    return this.#some(options, (task) => task.worker?.hostname === hostname);
  }

  #some(
    { limit, reverse }: { readonly limit?: number; readonly reverse?: boolean },
    wanted: (task: TaskView) => boolean,
  ): TaskView[] {
    const tasks = this.tasksByTime(reverse === undefined ? {} : { reverse }).filter(wanted);
    return limit === undefined ? tasks : tasks.slice(0, limit);
  }

  /** Names of all tasks seen, sorted. */
  taskTypes(): string[] {
    return [...this.#types].sort();
  }

  aliveWorkers(now = new Date()): WorkerView[] {
    return [...this.workers.values()].filter((worker) => worker.aliveAt(now));
  }

  /** How many tasks are in each state. */
  counts(): Readonly<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (const { state } of this.tasks.values()) counts[state] = (counts[state] ?? 0) + 1;
    return counts;
  }

  /** Runs `work` on the state as it is; events come between turns of the loop, so a synchronous one sees it still. */
  freezeWhile<Result>(work: () => Result, { clearAfter = false } = {}): Result {
    try {
      return work();
    } finally {
      if (clearAfter) this.clear();
    }
  }

  /** Forgets tasks: those that have ended, or with `ready: false` all. */
  clearTasks(ready = true): void {
    for (const [uuid, task] of this.tasks) if (!ready || task.ready) this.tasks.delete(uuid);
  }

  /** Forgets workers, counts and tasks; those that have not ended are kept unless `ready` is false. */
  clear(ready = true): void {
    this.workers.clear();
    this.clearTasks(ready);
    this.#orphans.clear();
    this.eventCount = 0;
    this.taskCount = 0;
  }
}

/** Older first. A clock of 0 says nothing: then time decides (protocol 11.1). */
function byClock(a: TaskView, b: TaskView): number {
  const clocks = a.clock > 0 && b.clock > 0 ? a.clock - b.clock : 0;
  return clocks || (a.timestamp ?? 0) - (b.timestamp ?? 0) || compare(a.origin ?? "", b.origin ?? "");
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function deleteFirst(map: Map<string, unknown>): void {
  const first = map.keys().next();
  if (!first.done) map.delete(first.value);
}
