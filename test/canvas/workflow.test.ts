import fc from "fast-check";
import { expect, test } from "vitest";
import { chainTasks, createChain, isChain } from "../../src/canvas/chain.ts";
import { chordBody, chordHeader, createChord, isChord } from "../../src/canvas/chord.ts";
import {
  type FailedTask,
  failedChainIds,
  planChordBody,
  planChordErrbacks,
  planSuccess,
} from "../../src/canvas/follow-up.ts";
import { createGroup, groupTasks, isGroup } from "../../src/canvas/group.ts";
import { chunksToGroup, createChunks } from "../../src/canvas/map.ts";
import { type Call, type Plan, planSignature } from "../../src/canvas/plan.ts";
import { createSignature } from "../../src/canvas/signature.ts";
import type { SignatureDict } from "../../src/protocol/signature.ts";
import type { ResultTuple } from "../../src/protocol/task-meta.ts";

/** Any composition, empty and single ones among them. Tasks get their names afterwards, each its own. */
const { composition } = fc.letrec<{ composition: SignatureDict; leaf: SignatureDict }>((tie) => ({
  leaf: fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ immutable: fc.boolean() }).map((traits) => createSignature("leaf", [], {}, {}, traits)),
    },
    {
      weight: 1,
      arbitrary: fc.tuple(fc.integer({ min: 0, max: 4 }), fc.integer({ min: 1, max: 3 })).map(([items, size]) =>
        createChunks(
          createSignature("leaf"),
          Array.from({ length: items }, (_, item) => [item]),
          size,
        ),
      ),
    },
  ),
  composition: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    tie("leaf"),
    fc.array(tie("composition"), { maxLength: 3 }).map((tasks) => createChain(tasks)),
    fc.array(tie("composition"), { maxLength: 3 }).map((tasks) => createGroup(tasks)),
    fc
      .tuple(fc.array(tie("composition"), { maxLength: 3 }), fc.boolean(), tie("composition"))
      .map(([tasks, asGroup, body]) => createChord(asGroup ? createGroup(tasks) : tasks, body)),
  ),
}));

/** The same with a name of its own for every task. */
function numbered(signature: SignatureDict): SignatureDict {
  let last = 0;
  return JSON.parse(JSON.stringify(signature), (key, value) =>
    key === "task" && value === "leaf" ? `t${++last}` : value,
  ) as SignatureDict;
}

/** Runs plans as workers would, in any order, every message through JSON. */
class World {
  readonly ran: { readonly name: string; readonly args: readonly unknown[]; readonly value: string }[] = [];
  readonly states = new Map<string, "SUCCESS" | "FAILURE">();
  readonly values = new Map<string, string>();
  readonly ids: string[] = [];
  readonly #chords = new Map<string, { size: number; parts: Map<string, { index: number; value: string | null }> }>();
  readonly #fired = new Set<string>();
  readonly #waiting: Call[] = [];
  readonly #random: () => number;
  readonly #fails: (name: string) => boolean;
  #lastId = 0;
  readonly newId = (): string => `id-${++this.#lastId}`;

  constructor(seed: number, fails: (name: string) => boolean = () => false) {
    let state = seed;
    this.#random = () => {
      state = (state * 1103515245 + 12345) % 2147483648;
      return state / 2147483648;
    };
    this.#fails = fails;
  }

  send(plan: Plan): void {
    for (const { groupId, size } of plan.chords) {
      expect(size).toBeGreaterThan(0);
      expect(this.#chords.has(groupId) || this.#fired.has(groupId), "a chord is opened once").toBe(false);
      this.#chords.set(groupId, { size, parts: new Map() });
    }
    for (const call of JSON.parse(JSON.stringify(plan.calls)) as Call[]) {
      expect(call.args).toBeInstanceOf(Array);
      expect(Object.values(call.options), "no option is null").not.toContain(null);
      this.ids.push(call.options.task_id as string);
      this.#waiting.push(call);
    }
  }

  run(): void {
    while (this.#waiting.length > 0) {
      const [call] = this.#waiting.splice(Math.floor(this.#random() * this.#waiting.length), 1) as [Call];
      this.#runOne(call);
    }
    expect([...this.#chords.keys()], "every chord has fired").toEqual([]);
  }

  #runOne({ task, args, kwargs, options }: Call): void {
    const id = options.task_id as string;
    const request = { id, root_id: (options.root_id ?? id) as string };
    const chord = (options.chord as SignatureDict | undefined) ?? null;
    const place = { groupId: options.group_id as string, groupIndex: options.group_index as number };
    const name = task === "celery.starmap" ? (kwargs.task as SignatureDict).task : task;
    const value = answerOf(name, args);
    this.ran.push({ name, args, value });
    if (this.#fails(name)) {
      this.#settle(id, "FAILURE", null);
      for (const follower of failedChainIds({ chain: options.chain as SignatureDict[] })) this.#fail(follower, request);
      if (chord) this.#part({ taskId: id, task, chord, ...place }, null, request);
      return;
    }
    const embed = { callbacks: options.link, chain: options.chain, chord };
    for (const plan of planSuccess(request, embed, value, { newId: this.newId }).plans) this.send(plan);
    this.#settle(id, "SUCCESS", value);
    if (chord) this.#part({ taskId: id, task, chord, ...place }, value, request);
  }

  #settle(id: string, state: "SUCCESS" | "FAILURE", value: string | null): void {
    expect(this.states.has(id), `${id} ends once`).toBe(false);
    this.states.set(id, state);
    if (value !== null) this.values.set(id, value);
  }

  #fail(task: FailedTask, request: { readonly id: string; readonly root_id: string }): void {
    this.#settle(task.taskId, "FAILURE", null);
    if (task.chord) this.#part(task, null, request);
  }

  #part(task: FailedTask, value: string | null, request: { readonly id: string; readonly root_id: string }): void {
    const groupId = task.groupId as string;
    const chord = this.#chords.get(groupId);
    if (chord === undefined) throw new Error(`${task.taskId} reports to ${groupId}, which is not open`);
    chord.parts.set(task.taskId, { index: task.groupIndex as number, value });
    expect(chord.parts.size).toBeLessThanOrEqual(chord.size);
    if (chord.parts.size < chord.size) return;
    this.#chords.delete(groupId);
    this.#fired.add(groupId);
    const body = task.chord as SignatureDict;
    const parts = [...chord.parts.values()].sort((a, b) => a.index - b.index);
    if (parts.some((part) => part.value === null)) {
      const { failed } = planChordErrbacks(body, request, { newId: this.newId, isInline: () => false });
      for (const each of failed) this.#fail(each, request);
    } else {
      this.send(
        planChordBody(
          body,
          parts.map((part) => part.value),
          request,
          { newId: this.newId },
        ),
      );
    }
  }
}

/** What a task answers: its name and what it was given. Lists of results are compared without their order. */
function answerOf(name: string, args: readonly unknown[]): string {
  return `${name}(${args.map((arg) => (Array.isArray(arg) ? `[${[...arg].sort().join(" ")}]` : String(arg))).join(",")})`;
}

/** What a composition comes to, by the words of Celery's guide. Null: nothing in it to run. */
function evaluate(signature: SignatureDict, args: readonly unknown[]): { many: boolean; values: string[] } | null {
  if (signature.task === "celery.chunks") return evaluateChunks(signature);
  if (isGroup(signature)) return evaluateGroup(signature, args);
  if (isChord(signature)) return evaluateChord(signature, args);
  if (isChain(signature)) return evaluateChain(signature, args);
  return { many: false, values: [answerOf(signature.task, signature.immutable ? [] : args)] };
}

function evaluateChunks(signature: SignatureDict): { many: boolean; values: string[] } | null {
  const starmaps = groupTasks(chunksToGroup(signature));
  if (starmaps.length === 0) return null;
  return {
    many: starmaps.length > 1,
    values: starmaps.map((map) => answerOf((map.kwargs.task as SignatureDict).task, [])),
  };
}

function evaluateGroup(group: SignatureDict, args: readonly unknown[]): { many: boolean; values: string[] } | null {
  const members = groupTasks(group)
    .map((task) => evaluate(task, args))
    .filter((member) => member !== null);
  if (members.length === 0) return null;
  return { many: members.length > 1 || members[0]?.many === true, values: members.flatMap((member) => member.values) };
}

function evaluateChord(chord: SignatureDict, args: readonly unknown[]): { many: boolean; values: string[] } | null {
  const header = evaluateGroup(chordHeader(chord), args);
  return evaluate(chordBody(chord), [header?.values ?? []]) ?? header;
}

function evaluateChain(chain: SignatureDict, args: readonly unknown[]): { many: boolean; values: string[] } | null {
  let last: { many: boolean; values: string[] } | null = null;
  for (const step of chainTasks(chain)) {
    const given: readonly unknown[] = last === null ? args : last.many ? [last.values] : last.values;
    last = evaluate(step, given) ?? last;
  }
  return last;
}

/** Ids of the tasks a result handle ends in. */
function endsOf([[id], children]: ResultTuple): readonly string[] {
  return children === null ? [id] : children.flatMap(endsOf);
}

/** Ids of all tasks a result handle knows. */
function allOf([[id, parent], children]: ResultTuple): readonly string[] {
  return [...(parent === null ? [] : allOf(parent)), ...(children === null ? [id] : children.flatMap(allOf))];
}

const cases = { numRuns: 2000 };

test("every composition runs to its end: each task once, each chord at its size, with the right result", () => {
  fc.assert(
    fc.property(composition, fc.nat(), (tree, seed) => {
      const signature = numbered(tree);
      const world = new World(seed);
      const plan = planSignature(signature, { newId: world.newId });
      world.send(plan);
      world.run();
      expect(new Set(world.ids).size).toBe(world.ids.length);
      const values = endsOf(plan.result).map((id) => world.values.get(id));
      expect([...values].sort()).toEqual([...(evaluate(signature, [])?.values ?? [])].sort());
      for (const id of allOf(plan.result)) expect(world.states.get(id)).toBe("SUCCESS");
    }),
    cases,
  );
});

test("every task of a composition runs exactly once", () => {
  fc.assert(
    fc.property(composition, fc.nat(), (tree, seed) => {
      const signature = numbered(tree);
      const world = new World(seed);
      world.send(planSignature(signature, { newId: world.newId }));
      world.run();
      const names = world.ran.map(({ name }) => name).sort();
      expect(names).toEqual([...leavesOf(signature)].sort());
    }),
    cases,
  );
});

/** Names of all tasks in a composition, once for each message they make. */
function leavesOf(signature: SignatureDict): readonly string[] {
  if (signature.task === "celery.chunks") {
    return groupTasks(chunksToGroup(signature)).map((map) => (map.kwargs.task as SignatureDict).task);
  }
  if (isGroup(signature)) return groupTasks(signature).flatMap(leavesOf);
  if (isChain(signature)) return chainTasks(signature).flatMap(leavesOf);
  if (isChord(signature)) return [...leavesOf(chordHeader(signature)), ...leavesOf(chordBody(signature))];
  return [signature.task];
}

/** Options as users and peers leave them anywhere in a composition. */
const anyOptions = fc.record(
  {
    queue: fc.constantFrom("q1", "q2"),
    priority: fc.constantFrom(3, null),
    countdown: fc.nat(9),
    link: fc.constantFrom(createSignature("linked"), [
      createGroup([createSignature("linked"), createSignature("linked")]),
    ]),
    link_error: fc.constant([createSignature("failed")]),
    add_to_parent: fc.constant(false),
    stamped_headers: fc.constant(["stamp"]),
    stamp: fc.constant("x"),
  },
  { requiredKeys: [] },
);

test("options anywhere in a composition change nothing about its way", () => {
  fc.assert(
    fc.property(composition, fc.infiniteStream(anyOptions), anyOptions, fc.nat(), (tree, stream, given, seed) => {
      const signature = JSON.parse(JSON.stringify(numbered(tree)), (_, value) =>
        value !== null && typeof value === "object" && "subtask_type" in value
          ? { ...value, options: stream.next().value }
          : value,
      ) as SignatureDict;
      const { link, ...options } = given;
      const world = new World(seed);
      const plan = planSignature(signature, { options, newId: world.newId });
      world.send(plan);
      world.run();
      expect(new Set(world.ids).size).toBe(world.ids.length);
      const names = world.ran.map(({ name }) => name).filter((name) => name !== "linked");
      expect(names.sort()).toEqual([...leavesOf(signature)].sort());
      for (const id of allOf(plan.result)) expect(world.states.get(id)).toBe("SUCCESS");
    }),
    cases,
  );
});

test("when a task fails nobody who holds the result waits for ever", () => {
  fc.assert(
    fc.property(composition, fc.nat(), fc.integer({ min: 1, max: 8 }), (tree, seed, failing) => {
      const world = new World(seed, (name) => name === `t${failing}` || name === `t${failing * 2}`);
      const plan = planSignature(numbered(tree), { newId: world.newId });
      world.send(plan);
      world.run();
      for (const id of allOf(plan.result)) expect(world.states.has(id), `${id} has ended`).toBe(true);
    }),
    cases,
  );
});

test("what is frozen keeps its ids when it is planned again by whoever receives it", () => {
  fc.assert(
    fc.property(composition, (tree) => {
      const world = new World(1);
      const chain = createChain([createSignature("first"), numbered(tree)]);
      const [call] = planSignature(chain, { newId: world.newId }).calls;
      const rest = JSON.parse(JSON.stringify((call as Call).options.chain ?? [])) as SignatureDict[];
      const refuse = (): string => {
        throw new Error("everything has an id already");
      };
      for (const step of rest) expect(() => planSignature(step, { newId: refuse })).not.toThrow();
    }),
    cases,
  );
});
