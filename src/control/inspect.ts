import type { BroadcastOptions } from "./broadcast-options.ts";
import type { NodeReply } from "./mailbox.ts";
import type { Hello, QueueInfo, ScheduledTask, TaskInfo, TaskWhereabouts, WorkerStats } from "./replies.ts";

/** Whom to ask; the same as for commands, but for `reply`: answers are what asking is for. */
export type InspectOptions = Omit<BroadcastOptions, "reply">;

/** Answers by node name; null when nobody answered, as in Celery. */
export type ByNode<Value> = Readonly<Record<string, Value>> | null;

/** Broadcasts a question and gathers the answers: what `app.control` is. */
export interface Collector {
  collect(
    method: string,
    args: Readonly<Record<string, unknown>>,
    options: InspectOptions,
  ): Promise<readonly NodeReply[]>;
}

/** Asks workers about themselves. Nothing it asks changes a worker. */
export class Inspect {
  readonly #control: Collector;
  readonly #options: InspectOptions;

  constructor(control: Collector, options: InspectOptions = {}) {
    this.#control = control;
    this.#options = options;
  }

  /** What they run now. With `safe` arguments come as text. */
  active(safe: boolean | null = null): Promise<ByNode<readonly TaskInfo[]>> {
    return this.request("active", { safe });
  }

  /** What waits for its time in their memory. */
  scheduled(): Promise<ByNode<readonly ScheduledTask[]>> {
    return this.request("scheduled");
  }

  /** What they hold and have not begun. */
  reserved(): Promise<ByNode<readonly TaskInfo[]>> {
    return this.request("reserved");
  }

  /** Ids of tasks that must not run. */
  revoked(): Promise<ByNode<readonly string[]>> {
    return this.request("revoked");
  }

  /** Their tasks, each with those of its attributes that are set: `proj.add [rate_limit=10/m]`. */
  registered(...attributes: readonly string[]): Promise<ByNode<readonly string[]>> {
    return this.request("registered", { taskinfoitems: attributes });
  }

  /** Figures about worker, pool and broker. */
  stats(): Promise<ByNode<WorkerStats>> {
    return this.request("stats");
  }

  /** Settings, secrets masked; those that were set, or all of them. */
  conf(withDefaults = false): Promise<ByNode<Readonly<Record<string, unknown>>>> {
    return this.request("conf", { with_defaults: withDefaults });
  }

  /** Software, platform and settings, as text. */
  report(): Promise<ByNode<{ readonly ok: string }>> {
    return this.request("report");
  }

  ping(): Promise<ByNode<{ readonly ok: "pong" }>> {
    return this.request("ping");
  }

  /** Where these tasks are. */
  queryTask(...ids: readonly string[]): Promise<ByNode<Readonly<Record<string, TaskWhereabouts>>>> {
    return this.request("query_task", { ids });
  }

  /** The queues they consume. */
  activeQueues(): Promise<ByNode<readonly QueueInfo[]>> {
    return this.request("active_queues");
  }

  /** Their logical clocks. */
  clock(): Promise<ByNode<{ readonly clock: number }>> {
    return this.request("clock");
  }

  /** What a worker of the name `fromNode` would be told at its start. */
  hello(fromNode: string, revoked: Hello["revoked"] | null = null): Promise<ByNode<Hello | null>> {
    return this.request("hello", { from_node: fromNode, revoked });
  }

  /** Memory in use now, as text; the worker remembers it for `memdump`. */
  memsample(): Promise<ByNode<string | null>> {
    return this.request("memsample");
  }

  /** The last samples, as text. */
  memdump(samples = 10): Promise<ByNode<string>> {
    return this.request("memdump", { samples });
  }

  /** Has each write what is in its memory to a file: a graph from Celery, a heap snapshot from tq. */
  objgraph(type = "Request", num = 200, maxDepth = 10): Promise<ByNode<{ readonly filename: string }>> {
    return this.request("objgraph", { num, max_depth: maxDepth, type });
  }

  /** Any command by name, users' own as well. */
  async request<Value>(method: string, args: Readonly<Record<string, unknown>> = {}): Promise<ByNode<Value>> {
    const replies = await this.#control.collect(method, args, this.#options);
    return replies.length === 0
      ? null
      : (Object.fromEntries(replies.map(({ node, value }) => [node, value])) as ByNode<Value>);
  }
}
