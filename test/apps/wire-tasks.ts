import { appendFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { chain, chord, group, Ignore, Reject, type TaskHandle, Tq } from "tq";
import { kindOf } from "./values.ts";

/** Python's class of that name, as far as its readers can tell. */
class ValueError extends Error {
  override name = "ValueError";
}
class KeyError extends Error {
  override name = "KeyError";
}
class RuntimeError extends Error {
  override name = "RuntimeError";
}

/** An error of one's own, with arguments that its readers see. */
class CustomError extends Error {
  readonly args: readonly unknown[];

  constructor(message: string, number: number) {
    super(message);
    this.name = "CustomError";
    this.args = [message, number];
  }
}

/** One write with O_APPEND: lines of many processes never mix. */
function append(path: string, line: string): void {
  appendFileSync(path, `${line}\n`, { mode: 0o600 });
}

/** Broker, result store and further settings, by the names both halves know them. */
export interface WireEnvironment {
  readonly TQ_BROKER_URL?: string | undefined;
  readonly TQ_RESULT_BACKEND?: string | undefined;
  /** Settings by Celery's names, as JSON. */
  readonly TQ_SETTINGS?: string | undefined;
}

/** A task whose types are no longer known. */
export type AnyHandle = TaskHandle<unknown[], unknown>;

export interface Wire {
  readonly app: Tq;
  /** The tasks by name, for callers that go by their handles. */
  readonly handles: ReadonlyMap<string, AnyHandle>;
  /** Those that workflows are made of, with their types. */
  readonly tasks: ReturnType<typeof workflowTasks>;
}

/** The tq half of the interoperability tests: the tasks of test/python/wire.py under the same names. */
export function createWire(environment: WireEnvironment): Wire {
  const { TQ_BROKER_URL: broker, TQ_RESULT_BACKEND: backend, TQ_SETTINGS: settings = "{}" } = environment;
  const app = new Tq("wire", { ...(broker ? { broker } : {}), ...(backend ? { backend } : {}) });
  app.conf.update({
    resultExtended: true,
    taskTrackStarted: true,
    taskRoutes: { "wire.routed": { queue: "routed" }, "wire.pattern.*": { queue: "routed" } },
    ...(JSON.parse(settings) as object),
  });

  const handles = new Map<string, AnyHandle>();
  const keep = (handle: unknown): void => {
    handles.set((handle as AnyHandle).taskName, handle as AnyHandle);
  };
  const tasks = workflowTasks(app);
  for (const handle of Object.values(tasks)) keep(handle);
  keep(app.task("wire.kinds", (values: unknown[]) => values.map(kindOf)));
  keep(
    app.task("wire.keywords", (first: unknown, second: unknown = "two", third: unknown = "three") => {
      return { first, second, third };
    }),
  );
  keep(
    app.task("wire.fail_custom", (message: string, number: number) => {
      throw new CustomError(message, number);
    }),
  );
  keep(
    app.task("wire.hopeless", { bind: true, maxRetries: 2 }, (self) => {
      throw self.retry({ countdown: 0, cause: new RuntimeError("hopeless") });
    }),
  );
  keep(
    app.task(
      "wire.auto",
      { bind: true, autoretryFor: [KeyError], maxRetries: 3, defaultRetryDelay: 0 },
      (self, failures: number) => {
        if (self.request.retries < failures) throw new KeyError("again");
        return self.request.retries;
      },
    ),
  );
  keep(
    app.task("wire.sleep", async (seconds: number) => {
      await delay(seconds * 1000);
      return seconds;
    }),
  );
  keep(app.task("wire.now", () => Date.now() / 1000));
  keep(
    app.task(
      "wire.record_late",
      { acksLate: true, rejectOnWorkerLost: true },
      async (path: string, line: string, seconds: number = 0) => {
        if (seconds > 0) await delay(seconds * 1000);
        append(path, line);
        return line;
      },
    ),
  );
  keep(app.task("wire.large", (size: number) => "x".repeat(size)));
  keep(
    app.task("wire.who", async (seconds: number = 0) => {
      await delay(seconds * 1000);
      return "tq";
    }),
  );
  keep(
    app.task("wire.request", { bind: true }, (self, first: unknown, { ...others }: Record<string, unknown> = {}) => {
      const { request } = self;
      return {
        id: request.id,
        task: request.task,
        args: request.args,
        kwargs: request.kwargs,
        retries: request.retries,
        root_id: request.rootId,
        parent_id: request.parentId,
        correlation_id: request.correlationId,
        routing_key: request.deliveryInfo?.routingKey,
        priority: request.deliveryInfo?.priority,
        headers: Object.fromEntries(Object.entries(request.headers).filter(([key]) => key.startsWith("x_"))),
        given: [first, others],
      };
    }),
  );
  keep(app.task("wire.routed", { bind: true }, (self) => self.request.deliveryInfo?.routingKey));
  keep(app.task("wire.pattern.one", { bind: true }, (self) => self.request.deliveryInfo?.routingKey));
  keep(
    app.task("wire.progress", { bind: true }, async (self, steps: number) => {
      for (let step = 1; step <= steps; step++) {
        await self.updateState("PROGRESS", { current: step, total: steps });
        await delay(50);
      }
      return steps;
    }),
  );
  keep(
    app.task("wire.ignore", () => {
      throw new Ignore();
    }),
  );
  keep(
    app.task("wire.reject", () => {
      throw new Reject("no", { requeue: false });
    }),
  );
  keep(
    app.task("wire.print", (line: string) => {
      console.log(line);
      console.error(line);
      return line;
    }),
  );
  keep(
    app.task("wire.kill_child", () => {
      process.kill(process.pid, "SIGKILL");
    }),
  );
  keep(
    app.task("wire.event", { bind: true }, async (self) => {
      await self.sendEvent("task-custom", { foo: "bar" });
      return 1;
    }),
  );
  return { app, handles, tasks };
}

/** What a call of `wire.tell` is to do. */
interface Order {
  readonly name: string;
  readonly retries: number;
  readonly fails: boolean;
  /** A signature to take its place. */
  readonly becomes: Parameters<Tq["signature"]>[0] | null;
}

/** The tasks workflows are made of. */
function workflowTasks(app: Tq) {
  return {
    add: app.task("wire.add", (x: number, y: number) => x + y),
    mul: app.task("wire.mul", (x: number, y: number) => x * y),
    xsum: app.task("wire.xsum", (numbers: readonly number[]) => numbers.reduce((sum, one) => sum + one, 0)),
    echo: app.task("wire.echo", (value: unknown) => value),
    fail: app.task("wire.fail", function fail(message: string): number {
      throw new ValueError(message);
    }),
    flaky: app.task("wire.flaky", { bind: true, maxRetries: 5 }, (self, failures: number) => {
      const { retries } = self.request;
      if (retries < failures) throw self.retry({ countdown: 0, cause: new RuntimeError(`try ${retries}`) });
      return retries;
    }),
    /** An errback of the older style: a task of its own, called with the id of the one that failed. */
    noteFailure: app.task("wire.note_failure", { bind: true }, (_self, id: string, path: string) => {
      append(path, `failed ${id}`);
    }),
    /** Puts something else in its place, which comes to ten times the number plus whatever it is. */
    become: app.task("wire.become", { bind: true }, async (self, x: number, kind: string): Promise<unknown> => {
      const times = (n: number) => app.signature<number[], number>("wire.mul", [x, n]);
      switch (kind) {
        case "task":
          return await self.replace(times(10));
        case "chain":
          return await self.replace(chain([times(10), app.signature<number[], number>("wire.add", [1])]));
        case "group":
          return await self.replace(group([times(10), times(11)]));
        case "chord":
          return await self.replace(chord([times(4), times(6)], app.signature("wire.xsum")));
        case "failure":
          return await self.replace(app.signature("wire.fail", ["replaced"]));
        default:
          throw new ValueError(`there is no ${kind}`);
      }
    }),
    /** Has its chord wait for one more, the double of its number. */
    grow: app.task("wire.grow", { bind: true }, async (self, x: number): Promise<number> => {
      await self.addToChord(app.signature("wire.add", [x, x]));
      return x;
    }),
    /** Where in a workflow it runs, and its stamps. */
    place: app.task("wire.place", { bind: true }, (self, _before: unknown = null) => {
      const { id, rootId, parentId, group, groupIndex, stamps } = self.request;
      return { id, root_id: rootId, parent_id: parentId, group, group_index: groupIndex, stamps };
    }),
    /** Answers its name and what it was given, and writes that down; its last argument says what else to do. */
    tell: app.task("wire.tell", { bind: true, maxRetries: 5 }, async (self, ...args: unknown[]): Promise<unknown> => {
      const { name, retries, fails, becomes } = args.at(-1) as Order;
      if (self.request.retries < retries) throw self.retry({ countdown: 0 });
      const answer = { name, given: args.slice(0, -1) };
      append(process.env.TQ_TELL as string, JSON.stringify(answer));
      if (fails) throw new ValueError(JSON.stringify(name));
      return becomes === null ? answer : await self.replace(app.signature(becomes));
    }),
    /** Makes a call of its own. */
    spawn: app.task("wire.spawn", async (x: number) => {
      await app.sendTask("wire.add", [x, x]);
      return x;
    }),
    /** An errback of the newer style: called where the task failed, with its request and error. */
    noteError: app.task(
      "wire.note_error",
      (request: { readonly id: string }, error: Error, _traceback: string, path: string) => {
        append(path, `${error.name} ${request.id}`);
      },
    ),
    quiet: app.task("wire.quiet", { ignoreResult: true }, (path: string, line: string) => {
      append(path, line);
      return line;
    }),
    record: app.task("wire.record", (path: string, line: string) => {
      append(path, line);
      return line;
    }),
  };
}
