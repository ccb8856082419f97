import fc from "fast-check";
import { createChain } from "../../src/canvas/chain.ts";
import { createChord } from "../../src/canvas/chord.ts";
import { createGroup } from "../../src/canvas/group.ts";
import { createSignature } from "../../src/canvas/signature.ts";
import type { SignatureDict } from "../../src/protocol/signature.ts";
import type { Composition } from "../helpers/python-client.ts";

/**
 * Workflows drawn at random, and what they come to by the words of Celery's guide. Every call is one
 * of `wire.tell`, which answers its name and what it was given, so that a result shows the way of
 * every value through the workflow, and writes its answer down, so that nothing runs unseen.
 */
export type Drawn =
  | Call
  | { readonly kind: "chain"; readonly parts: readonly Drawn[] }
  | { readonly kind: "group"; readonly parts: readonly Drawn[] }
  | { readonly kind: "chord"; readonly parts: readonly Drawn[]; readonly body: Drawn };

export interface Call {
  readonly kind: "call";
  readonly name: string;
  readonly queue: string;
  readonly immutable: boolean;
  readonly retries: number;
  readonly fails: boolean;
  /** What takes its place when it runs. */
  readonly becomes: Drawn | null;
  readonly links: readonly Call[];
}

const traits = (deep: fc.Arbitrary<Drawn | null>, links: fc.Arbitrary<readonly Call[]>): fc.Arbitrary<Call> =>
  fc
    .record({
      kind: fc.constant("call" as const),
      name: fc.constant(""),
      queue: fc.constantFrom("python", "typescript"),
      immutable: oneIn(5, fc.constant(true), false),
      retries: oneIn(6, fc.integer({ min: 1, max: 2 }), 0),
      fails: fc.constant(false),
      becomes: deep,
      links,
    })
    .map((call) => (call.becomes && !replaces(call.becomes) ? { ...call, queue: "typescript" } : call));

/** Celery gathers what takes a task's place when that is a group, not when it only ends in one (`Task.replace`). */
const replaces = (becomes: Drawn): boolean => becomes.kind === "group" || !endsInMany(becomes);

/** Drawn once in so many times, otherwise what is usual. */
function oneIn<T, U>(times: number, rare: fc.Arbitrary<T>, usual: U): fc.Arbitrary<T | U> {
  return fc.oneof({ weight: times - 1, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: rare });
}

/**
 * Groups have two members at least and nothing is empty: with nothing or one in it Celery turns a
 * group into something else (docs/canvas.md), and the plans of those are compared without a broker.
 */
const { drawn: anyDrawn } = fc.letrec<{ drawn: Drawn; call: Call }>((tie) => {
  const some = fc.array(tie("drawn"), { minLength: 2, maxLength: 3 });
  return {
    call: traits(
      oneIn(8, fc.oneof({ maxDepth: 2, depthSize: "small" }, tie("drawn")), null),
      oneIn(8, fc.array(traits(fc.constant(null), fc.constant([])), { minLength: 1, maxLength: 2 }), []),
    ),
    drawn: fc.oneof(
      { maxDepth: 3, depthSize: "medium", withCrossShrink: true },
      { weight: 2, arbitrary: tie("call") },
      { weight: 3, arbitrary: some.map((parts) => ({ kind: "chain", parts }) as const) },
      { weight: 2, arbitrary: some.map((parts) => ({ kind: "group", parts }) as const) },
      {
        weight: 2,
        arbitrary: fc.tuple(some, tie("drawn")).map(([parts, body]) => ({ kind: "chord", parts, body }) as const),
      },
    ),
  };
});

/** A name of its own for every call, and, for some workflows, one call that fails. */
const drawn: fc.Arbitrary<Drawn> = fc.tuple(anyDrawn, fc.nat(), fc.nat(5)).map(([workflow, at, chance]) => {
  const named = renamed(workflow);
  const able = chance > 1 ? [] : chance === 1 ? mayFail(named) : callsOf(named);
  const name = able[at % able.length];
  if (name === undefined) return named;
  const failed = failing(named, name);
  return mayFail(named).includes(name) ? failed : inTypeScript(failed);
});

function renamed(workflow: Drawn): Drawn {
  let last = 0;
  return onCalls(workflow, (call) => ({ ...call, name: `t${++last}` }));
}

const failing = (workflow: Drawn, name: string): Drawn =>
  onCalls(workflow, (call) => ({ ...call, fails: call.name === name }));

const inTypeScript = (workflow: Drawn): Drawn =>
  onCalls(workflow, (call) => ({ ...call, queue: "typescript", becomes: null }));

/** Whether a Python worker runs any of it. */
export const needsPython = (workflow: Drawn): boolean => JSON.stringify(workflow).includes('"queue":"python"');

function onCalls(part: Drawn, change: (call: Call) => Call): Drawn {
  if (part.kind === "call") {
    const { becomes, links, ...call } = part;
    const changed = change({ ...call, becomes, links });
    return {
      ...changed,
      becomes: changed.becomes && onCalls(changed.becomes, change),
      links: changed.links.map((link) => onCalls(link, change) as Call),
    };
  }
  const parts = part.parts.map((one) => onCalls(one, change));
  return part.kind === "chord" ? { ...part, parts, body: onCalls(part.body, change) } : { ...part, parts };
}

const callsOf = (part: Drawn): readonly string[] => {
  if (part.kind === "call") return part.becomes === null ? [part.name] : [];
  return [...part.parts, ...(part.kind === "chord" ? [part.body] : [])].flatMap(callsOf);
};

/** The same workflows for the same seed: `TQ_TEST_SEED` looks elsewhere. */
export function drawWorkflows(count: number, seed: number, fits: (workflow: Drawn) => boolean): readonly Drawn[] {
  return fc.sample(drawn.filter(fits), { numRuns: count, seed });
}

/**
 * Calls whose failure Celery tells to whoever waits. It tells no more than the steps left in the
 * message and the body of the chord, and of those only what is a single call: a chord or a group that
 * will never run stays pending, and so does a chord whose member was such a one (celery/backends/base.py,
 * `mark_as_failure` and `chord_error_from_stack`). What else fails is run by tq alone.
 */
function mayFail(part: Drawn, inHeader = false, plainAfter = true): readonly string[] {
  if (!plainAfter) return [];
  switch (part.kind) {
    case "call": {
      if (part.becomes === null) return [part.name];
      const gathered = endsInMany(part.becomes);
      return gathered && inHeader ? [] : mayFail(part.becomes, inHeader || gathered);
    }
    case "group":
      return part.parts.flatMap((one) => mayFail(one, inHeader));
    case "chord": {
      const header = inHeader || !isCall(part.body) ? [] : part.parts.flatMap((one) => mayFail(one, true));
      return [...header, ...mayFail(part.body, inHeader)];
    }
    case "chain":
      return part.parts.flatMap((one, index) => {
        const rest = part.parts.slice(index + 1);
        if (rest.length === 0 || (one.kind !== "chord" && !endsInMany(one))) {
          return mayFail(one, inHeader, rest.every(isPlain));
        }
        // What is behind a chord becomes part of its body, and what is behind a group is the body of a chord.
        const single = one.kind !== "chord" && rest.length === 1 && isCall(rest[0] as Drawn);
        return single && !inHeader ? mayFail(one, true) : [];
      });
  }
}

const isCall = (part: Drawn): boolean => part.kind === "call" && part.becomes === null;
const isPlain = (part: Drawn): boolean => isCall(part) || (part.kind === "chain" && part.parts.every(isPlain));

/**
 * What Celery's own client sends as it should. What ends in a group goes by the id of the group around it, or of the
 * chord whose body it is, whose chord then has the size of the inner one; and a step behind a chord that ends in a
 * group runs once for each member (`group.freeze`, `group._apply_tasks` and `_chord.__or__` in celery/canvas.py).
 */
export function pythonSends(part: Drawn, inGroup = false): boolean {
  if (inGroup && part.kind !== "group" && endsInMany(part)) return false;
  switch (part.kind) {
    case "call":
      return true;
    case "group":
      return part.parts.every((one) => pythonSends(one, true));
    case "chord":
      return part.parts.every((one) => pythonSends(one, true)) && pythonSends(part.body) && !endsInMany(part.body);
    case "chain": {
      const steps = stepsOf(part);
      const chords = steps.findIndex((one) => one.kind === "chord" || endsInMany(one));
      const rest = chords < 0 ? [] : steps.slice(chords + 1);
      return steps.every((one) => pythonSends(one)) && !rest.some(endsInMany);
    }
  }
}

/** Chains in chains are one. */
const stepsOf = (part: Drawn): readonly Drawn[] => (part.kind === "chain" ? part.parts.flatMap(stepsOf) : [part]);

/** Whether several results are what it comes to. */
export function endsInMany(part: Drawn): boolean {
  switch (part.kind) {
    case "call":
      return false;
    case "group":
      return true;
    case "chord":
      return endsInMany(part.body);
    case "chain":
      return endsInMany(part.parts.at(-1) as Drawn);
  }
}

// ── as it is written ─────────────────────────────────────────────────────────

/** In the words both clients are told what to compose in. */
export function composition(part: Drawn): Composition {
  switch (part.kind) {
    case "call": {
      const { links, queue, immutable } = part;
      const call = { task: "wire.tell", args: [order(part)], options: { queue }, immutable };
      return links.length === 0 ? call : { ...call, link: links.map(composition) };
    }
    case "chord":
      return { chord: part.parts.map(composition), body: composition(part.body) };
    case "chain":
      return { chain: part.parts.map(composition) };
    case "group":
      return { group: part.parts.map(composition) };
  }
}

/** As the dictionary a signature travels in. */
export function signatureOf(part: Drawn): SignatureDict {
  switch (part.kind) {
    case "call": {
      const { links, queue, immutable } = part;
      const options = { queue, ...(links.length === 0 ? {} : { link: links.map(signatureOf) }) };
      return createSignature("wire.tell", [order(part)], {}, options, { immutable });
    }
    case "chord":
      return createChord(part.parts.map(signatureOf), signatureOf(part.body));
    case "chain":
      return createChain(part.parts.map(signatureOf));
    case "group":
      return createGroup(part.parts.map(signatureOf));
  }
}

/** The argument that tells a call what to do. */
function order({ name, retries, fails, becomes }: Call) {
  return { name, retries, fails, becomes: becomes && signatureOf(becomes) };
}

// ── what it comes to ─────────────────────────────────────────────────────────

/** What a call answers. */
export interface Answer {
  readonly name: string;
  readonly given: readonly Value[];
}

/** Results side by side; without an order where Celery keeps none. */
interface Many {
  readonly many: readonly Value[];
  readonly ordered: boolean;
}

export type Value = Answer | Many;

/** What a workflow comes to, undefined for one that fails, and all that is run for it, links among it. */
export interface Expected {
  readonly value: Value | undefined;
  readonly answers: readonly Answer[];
}

/** The simple interpreter: each rule as the guide has it, with no thought of messages. */
export function interpret(workflow: Drawn): Expected {
  const answers: Answer[] = [];
  const value = evaluate(workflow, [], answers);
  return { value, answers };
}

function evaluate(part: Drawn, given: readonly Value[], answers: Answer[]): Value | undefined {
  switch (part.kind) {
    case "call":
      return evaluateCall(part, given, answers);
    case "group":
      return evaluateGroup(part.parts, given, answers);
    case "chord": {
      const header = evaluateGroup(part.parts, given, answers);
      return header && evaluate(part.body, [header], answers);
    }
    case "chain": {
      let last: readonly Value[] = given;
      for (const step of part.parts) {
        const value = evaluate(step, last, answers);
        if (value === undefined) return undefined;
        last = [value];
      }
      return last[0];
    }
  }
}

function evaluateCall(call: Call, given: readonly Value[], answers: Answer[]): Value | undefined {
  const answer = { name: call.name, given: call.immutable ? [] : given };
  answers.push(answer);
  if (call.fails) return undefined;
  const value = call.becomes === null ? answer : evaluate(call.becomes, [], answers);
  if (value !== undefined) for (const link of call.links) evaluateCall(link, [value], answers);
  return value;
}

function evaluateGroup(parts: readonly Drawn[], given: readonly Value[], answers: Answer[]): Many | undefined {
  const values = parts.map((part) => evaluate(part, given, answers));
  if (values.includes(undefined)) return undefined;
  // A group among the members is one with them, in an order Celery leaves open; what only ends in one is a list in its place.
  const many = parts.flatMap((part, index) =>
    part.kind === "group" ? (values[index] as Many).many : [values[index] as Value],
  );
  return { many, ordered: !parts.some(({ kind }) => kind === "group") };
}

/** Whether what came is what was to come. */
export function matches(expected: Value, actual: unknown): boolean {
  if ("many" in expected) {
    if (!Array.isArray(actual) || actual.length !== expected.many.length) return false;
    if (expected.ordered) return expected.many.every((one, index) => matches(one, actual[index]));
    const left = [...(actual as readonly unknown[])];
    return expected.many.every((one) => {
      const at = left.findIndex((other) => matches(one, other));
      if (at >= 0) left.splice(at, 1);
      return at >= 0;
    });
  }
  const { name, given } = (actual ?? {}) as { readonly name?: unknown; readonly given?: readonly unknown[] };
  return (
    name === expected.name &&
    Array.isArray(given) &&
    given.length === expected.given.length &&
    expected.given.every((one, index) => matches(one, given[index]))
  );
}

/** The same for the whole, where groups in groups show as lists in lists. */
export function matchesWhole(workflow: Drawn, expected: Value, actual: unknown): boolean {
  if (!endsInMany(workflow)) return matches(expected, actual);
  return matches({ ...flat(expected), ordered: false }, [actual].flat(Number.POSITIVE_INFINITY));
}

function flat(value: Value): Many {
  if (!("many" in value)) return { many: [value], ordered: true };
  return { many: value.many.flatMap((one) => flat(one).many), ordered: value.ordered };
}
