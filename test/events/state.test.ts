import { describe, expect, test } from "vitest";
import { Dumper } from "../../src/events/dumper.ts";
import { State } from "../../src/events/state.ts";
import type { ReceivedEvent } from "../../src/protocol/event.ts";

let clock = 0;
const at = 1_795_197_500;
function event(type: string, fields: Partial<ReceivedEvent> = {}): ReceivedEvent {
  clock += 1;
  return {
    hostname: "w1@h",
    utcoffset: 0,
    pid: 7,
    clock,
    timestamp: at + clock,
    local_received: at + clock,
    type,
    ...fields,
  };
}
const received = (uuid: string, fields: Partial<ReceivedEvent> = {}): ReceivedEvent =>
  event("task-received", { uuid, name: "t.add", args: "(1, 2)", kwargs: "{}", retries: 0, eta: null, ...fields });

describe("the state of a cluster", () => {
  test("a task goes through its states, and knows when it did", () => {
    const state = new State();
    const states = [
      event("task-sent", { uuid: "a", name: "t.add", hostname: "gen1@h", queue: "celery" }),
      received("a"),
      event("task-started", { uuid: "a" }),
      event("task-succeeded", { uuid: "a", result: "3", runtime: 0.5 }),
    ].map((one) => {
      state.event(one);
      return state.tasks.get("a")?.state;
    });
    expect(states).toEqual(["PENDING", "RECEIVED", "STARTED", "SUCCESS"]);
    const task = state.tasks.get("a");
    expect(task).toMatchObject({ name: "t.add", result: "3", runtime: 0.5, client: "gen1@h", ready: true });
    expect(task?.worker?.hostname).toBe("w1@h");
    expect(Object.keys(task?.steps ?? {})).toEqual(["sent", "received", "started", "succeeded"]);
    expect(task?.info()).toEqual({ args: "(1, 2)", kwargs: "{}", retries: 0, result: "3", runtime: 0.5 });
    expect([state.eventCount, state.taskCount, state.counts()]).toEqual([4, 1, { SUCCESS: 1 }]);
  });

  test("the order in which events come does not matter to where they end, except after a retry", () => {
    const parts = [
      received("a"),
      event("task-started", { uuid: "a" }),
      event("task-failed", { uuid: "a", exception: "E()" }),
    ];
    for (const order of [
      [0, 1, 2],
      [2, 1, 0],
      [1, 2, 0],
      [2, 0, 1],
    ]) {
      const state = new State();
      for (const index of order) state.event(parts[index] as ReceivedEvent);
      expect(state.tasks.get("a")).toMatchObject({ state: "FAILURE", name: "t.add", args: "(1, 2)", exception: "E()" });
    }
    const state = new State();
    for (const one of [event("task-retried", { uuid: "a", exception: "E()" }), received("a", { retries: 1 })])
      state.event(one);
    expect(state.tasks.get("a")).toMatchObject({ state: "RECEIVED", retries: 1 });
  });

  test("events of one's own are states of one's own, and malformed fields are shown as text", () => {
    const state = new State();
    state.event(event("task-halfway", { uuid: "a", args: [1, 2] as never, runtime: "soon" as never }));
    expect(state.tasks.get("a")).toMatchObject({ state: "HALFWAY", args: "[1,2]", runtime: null });
  });

  test("a worker is alive for two of its intervals after the last sign of life, and gone when it says so", () => {
    const left: string[] = [];
    const joined: string[] = [];
    const state = new State({ onNodeJoin: (w) => joined.push(w.hostname), onNodeLeave: (w) => left.push(w.hostname) });
    const last = event("worker-online", { freq: 2, sw_ident: "tq", active: 1, processed: 5, loadavg: [1, 2, 3] });
    state.event(last);
    const aliveAfter = (seconds: number): string[] =>
      state.aliveWorkers(new Date((last.local_received + seconds) * 1000)).map(({ hostname }) => hostname);
    expect(aliveAfter(3.9)).toEqual(["w1@h"]);
    expect(aliveAfter(4.1)).toEqual([]);
    expect(state.workers.get("w1@h")).toMatchObject({ swIdent: "tq", active: 1, processed: 5, pid: 7, id: "w1@h.7" });
    state.event(event("worker-offline"));
    expect([joined, left, state.workers.size]).toEqual([["w1@h"], ["w1@h"], 0]);
  });

  test("clocks that disagree are told once for each node", () => {
    const drifts: [string, number][] = [];
    const state = new State({ onDrift: (node, drift) => drifts.push([node, drift]) });
    for (let count = 0; count < 3; count += 1) {
      const one = event("worker-heartbeat", { freq: 2 });
      state.event({ ...one, local_received: one.timestamp + 20 });
    }
    expect(drifts).toEqual([["w1@h", 20]]);
  });

  test("tasks are listed by Lamport clock, newest first, by type and by worker; the first seen is forgotten first", () => {
    const state = new State({ maxTasksInMemory: 3 });
    for (const uuid of ["a", "b", "c", "d"])
      state.event(received(uuid, uuid === "c" ? { name: "t.mul", hostname: "w2@h" } : {}));
    state.event(event("task-started", { uuid: "b" }));
    const ids = (tasks: readonly { uuid: string }[]): string[] => tasks.map(({ uuid }) => uuid);
    expect(ids(state.tasksByTime())).toEqual(["b", "d", "c"]);
    expect(ids(state.tasksByTime({ reverse: false, limit: 2 }))).toEqual(["c", "d"]);
    expect(ids(state.tasksByType("t.mul"))).toEqual(["c"]);
    expect(ids(state.tasksByWorker("w1@h", { limit: 1 }))).toEqual(["b"]);
    expect(state.taskTypes()).toEqual(["t.add", "t.mul"]);
  });

  test("children find their parents, whichever is heard of first", () => {
    const state = new State();
    state.event(received("child", { parent_id: "parent" }));
    state.event(received("parent"));
    state.event(received("other", { parent_id: "parent" }));
    state.event(received("again", { parent_id: "again" }));
    expect([...(state.tasks.get("parent")?.children ?? [])]).toEqual(["child", "other"]);
    expect(state.tasks.get("again")?.children.size).toBe(0);
  });

  test("clear forgets what has ended and keeps what runs", () => {
    const state = new State();
    state.event(received("a"));
    state.event(received("b"));
    state.event(event("task-succeeded", { uuid: "b", result: "1", runtime: 1 }));
    const size = state.freezeWhile(() => state.tasks.size, { clearAfter: true });
    expect([size, [...state.tasks.keys()], state.eventCount]).toEqual([2, ["a"], 0]);
  });
});

test("the dumper says each event in Celery's words, and remembers the names of tasks", () => {
  const dumper = new Dumper();
  clock = 9;
  const lines = [
    received("id1", { timestamp: at + 0.25, local_received: at }),
    event("task-started", { uuid: "id1", timestamp: at, local_received: at }),
    event("worker-heartbeat", { freq: 2, timestamp: at, local_received: at }),
    event("task-failed", { uuid: "id2", timestamp: at, local_received: at, exception: "E('x')", traceback: null }),
  ].map((one) => dumper.line(one));
  const when = "2026-11-20 17:58:20";
  expect(lines).toEqual([
    `w1@h [${when}.250000+00:00] task received: t.add(id1) args=(1, 2) kwargs={} clock=10, eta=None, local_received=${at}, pid=7, retries=0, utcoffset=0`,
    `w1@h [${when}+00:00] task started: t.add(id1) args=(1, 2) kwargs={} clock=11, local_received=${at}, pid=7, utcoffset=0`,
    `w1@h [${when}+00:00] heartbeat: clock=12, freq=2, local_received=${at}, pid=7, utcoffset=0`,
    `w1@h [${when}+00:00] task failed:  clock=13, exception=E('x'), local_received=${at}, pid=7, traceback=None, utcoffset=0`,
  ]);
});
