import { afterAll, describe, expect, test } from "vitest";
import { createChain } from "../../src/canvas/chain.ts";
import { createChord } from "../../src/canvas/chord.ts";
import {
  failedChainIds,
  planChordBody,
  planChordErrbacks,
  planErrbacks,
  planReplacement,
  planSuccess,
} from "../../src/canvas/follow-up.ts";
import { createGroup } from "../../src/canvas/group.ts";
import { type Call, type Plan, planSignature } from "../../src/canvas/plan.ts";
import { planRetry } from "../../src/canvas/retry.ts";
import { without } from "../../src/canvas/signature.ts";
import type { SignatureDict } from "../../src/protocol/signature.ts";
import { type Captured, countingIds, expectSame, expectSameCalls, golden, renamed, task } from "./golden.ts";

const sent = (name: string, index: number): Captured => golden(name).messages[index] as Captured;
const chordOf = (message: Captured): SignatureDict => message.body[2].chord as SignatureDict;
const isInline = (): boolean => false;

/** Id of a captured task, and the children its stored result names. */
function childrenOf(name: string, taskId: string): readonly unknown[] | undefined {
  return golden(name).stored.find((meta) => meta.task_id === taskId)?.children;
}

function withoutGroupOfBody(call: Call): Call {
  const chord = call.options.chord as SignatureDict;
  return { ...call, options: { ...call.options, chord: { ...chord, options: without(chord.options, "group_id") } } };
}

describe("what follows a task is what a Celery worker sends", () => {
  let compared = 0;
  const compare = (plans: readonly Plan[], name: string, ...indexes: readonly number[]): void => {
    compared += expectSame(
      plans,
      indexes.map((index) => sent(name, index)),
    );
  };

  /** Success of one captured task, against the messages sent next and the children stored with its result. */
  function expectSuccess(name: string, index: number, retval: unknown, ...next: readonly number[]): void {
    const { headers, body } = sent(name, index);
    const { plans, children } = planSuccess(headers, body[2], retval, { newId: countingIds() });
    compare(plans, name, ...next);
    const stored = childrenOf(name, headers.id);
    expect(renamed(children, stored)).toEqual(stored);
  }

  test("a chain goes on step by step, and ends with an empty rest", () => {
    expectSuccess("result_chain", 0, 3, 1);
    expectSuccess("result_chain", 1, 9, 2);
    expectSuccess("result_chain", 2, 13);
    expectSuccess("result_replaced_in_chain", 1, 105, 2);
  });

  test("one callback is called itself", () => {
    expectSuccess("result_link", 0, 2, 1);
  });

  test("a chord as the next step takes the rest of the chain into its body", () => {
    expectSuccess("chain_group_chord_run", 0, 2, 1, 2);
    const { headers, body } = sent("chain_group_chord_run", 0);
    const { plans } = planSuccess(headers, body[2], 2, { newId: countingIds() });
    const sizes = plans.flatMap((plan) => plan.chords.map((chord) => [chord.groupId, chord.size]));
    expect(Object.fromEntries(sizes)).toEqual(golden("chain_group_chord_run").chords);
  });

  test("the body of a chord is called with the results, and its parent is the member that finished last", () => {
    const fire = (name: string, member: number, results: unknown[], last: number, ...next: number[]): void => {
      const plan = planChordBody(chordOf(sent(name, member)), results, sent(name, last).headers, {
        newId: countingIds(),
      });
      compare([plan], name, ...next);
    };
    fire("chord_success", 0, [2, 4], 1, 2);
    fire("chain_group_chord_run", 1, [4, 5], 2, 3);
    fire("chord_body_group", 0, [2, 4], 1, 2, 3);
    fire("chord_nested_result", 2, [6, 8], 3, 4);
    fire("chord_nested_result", 0, [4, 2, 14], 4, 5);
    const unlock = sent("chord_unlock_fallback", 0);
    const body = unlock.body[0][1] as SignatureDict;
    compare([planChordBody(body, [2, 1.5], unlock.headers, { newId: countingIds() })], "chord_unlock_fallback", 4);
  });

  test("errbacks that are tasks get the id of the failed one, in a group of their own", () => {
    for (const name of ["result_link_error_old", "result_link_error_unregistered"]) {
      const { headers, body } = sent(name, 0);
      const { plans, inline } = planErrbacks(headers, body[2], { newId: countingIds(), isInline });
      expect(inline).toEqual([]);
      compare(plans, name, 1);
    }
  });

  test("a failed chord calls the errbacks of its body, in the name of the body", () => {
    const name = "chord_header_failure_errback";
    const body = chordOf(sent(name, 0));
    const { plans, failed } = planChordErrbacks(body, sent(name, 1).headers, { newId: countingIds(), isInline });
    compare(plans, name, 2);
    expect(failed).toEqual([
      { taskId: body.options.task_id, task: "wt.xsum", chord: null, groupId: body.options.group_id, groupIndex: null },
    ]);
  });

  test("the steps left fail with the one before them, the last one first", () => {
    const { body } = sent("result_chain_failure", 0);
    const stored = golden("result_chain_failure").stored.slice(1);
    expect(stored).toHaveLength(2);
    expect(failedChainIds(body[2]).map(({ taskId }) => taskId)).toEqual(stored.map((meta) => meta.task_id));
  });

  test("a retry is the same message but for the count, the time and the parent", () => {
    for (const [name, from, to] of [
      ["result_retry", 0, 1],
      ["chord_unlock_fallback", 0, 3],
    ] as const) {
      const [first, second] = [sent(name, from), sent(name, to)];
      const { exchange, routing_key: routingKey } = first.properties.delivery_info;
      const call = planRetry(first.headers, first.properties, first.body, {
        eta: second.headers.eta,
        address: { exchange, routingKey },
      });
      compared += expectSameCalls([call], [second]);
      const { eta, origin, queue, ignore_result } = call.options;
      expect({ eta, origin, queue, ignore_result: ignore_result ?? null }).toEqual({
        eta: second.headers.eta,
        origin: second.headers.origin,
        queue: second.properties.delivery_info.routing_key,
        ignore_result: second.headers.ignore_result,
      });
    }
  });

  test("a replacement goes by the id of the task it replaces and takes over what follows it", () => {
    const replace = (name: string, signature: SignatureDict): Plan => {
      const { headers, body } = sent(name, 0);
      return planReplacement(headers, body[2], signature, { newId: countingIds() });
    };
    compare([replace("result_replaced", task("add", [5, 100]))], "result_replaced", 1);
    compare([replace("result_replaced_in_chain", task("add", [5, 100]))], "result_replaced_in_chain", 1);
    const name = "result_replaced_group";
    const group = createGroup([task("add", [5, 1]), task("add", [5, 2])]);
    const { headers, body } = sent(name, 0);
    const replyTo = sent(name, 1).properties.reply_to;
    const plan = planReplacement(headers, body[2], group, { newId: countingIds(), replyTo });
    // Celery takes the body out of the header's group; as with every other chord it stays in it here.
    compare([{ ...plan, calls: plan.calls.map(withoutGroupOfBody) }], name, 1, 2);
    const accumulate = (plan.calls.map(withoutGroupOfBody)[0] as Call).options.chord as SignatureDict;
    compare([planChordBody(accumulate, [6, 7], sent(name, 2).headers, { newId: countingIds() })], name, 3);
  });

  test("what takes a task's place and ends in several results is gathered into one, under the task's id", () => {
    const { headers, body } = sent("result_replaced", 0);
    const group = createGroup([task("add", [1]), task("add", [2])]);
    for (const signature of [createChain([task("add", [5, 1]), group]), createChord([task("add", [5, 1])], group)]) {
      const plan = planReplacement(headers, body[2], signature, { newId: countingIds() });
      expect(JSON.stringify(plan)).toContain("celery.accumulate");
      expect(plan.result[0][0]).toBe(headers.id);
      expect(plan.result[1]).toBeNull();
    }
  });

  afterAll(() => {
    expect(compared).toBe(23);
  });
});

describe("followers", () => {
  const ended = { id: "t", root_id: "r" };
  const options = { newId: countingIds() };

  test("several callbacks make one new group, groups among them go by themselves", () => {
    const callbacks = [task("a"), createGroup([task("b"), task("c")]), task("d")];
    const { plans, children } = planSuccess(ended, { callbacks }, 1, options);
    expect(plans.map((plan) => plan.calls.map((call) => call.task))).toEqual([
      ["wt.b", "wt.c"],
      ["wt.a", "wt.d"],
    ]);
    expect(children).toEqual(plans.map((plan) => plan.result));
    for (const call of plans.flatMap((plan) => plan.calls)) {
      expect(call.args).toEqual([1]);
      expect(call.options).toMatchObject({ parent_id: "t", root_id: "r" });
    }
  });

  test("inherit the priority only when there is one, and keep their own otherwise", () => {
    const callbacks = [task("a", [], { priority: 4 })];
    const priorityWith = (priority: number | null): unknown =>
      planSuccess(ended, { callbacks }, 1, { ...options, priority }).plans[0]?.calls[0]?.options.priority;
    expect([priorityWith(null), priorityWith(7)]).toEqual([4, 7]);
  });

  test("an embed without keys has none, and a task without root is its own", () => {
    expect(planSuccess(ended, {}, 1, options)).toEqual({ plans: [], children: [] });
    const { plans } = planSuccess({ id: "t", root_id: null }, { callbacks: task("a") }, 1, options);
    expect(plans[0]?.calls[0]?.options.root_id).toBe("t");
  });

  test("a step that ends in a group does not run what is behind it once for each member", () => {
    const group = createGroup([task("a"), task("b")]);
    const { plans } = planSuccess(ended, { chain: [task("z"), task("y"), group] }, 1, options);
    const [plan] = plans as [Plan];
    expect(plan.chords).toHaveLength(1);
    expect(plan.calls.map((call) => (call.options.chord as SignatureDict).task)).toEqual(["wt.y", "wt.y"]);
    const body = (plan.calls[0] as Call).options.chord as SignatureDict;
    expect((body.options.chain as SignatureDict[]).map((step) => step.task)).toEqual(["wt.z"]);
  });

  test("errbacks for this process are handed back, the others are sent; an immutable one gets no id", () => {
    const errbacks = [task("here"), task("there"), { ...task("deaf"), immutable: true }];
    const { inline, plans } = planErrbacks(
      ended,
      { errbacks },
      { ...options, isInline: ({ task }) => task === "wt.here" },
    );
    expect(inline.map((errback) => errback.task)).toEqual(["wt.here"]);
    expect(plans[0]?.calls.map(({ task, args }) => [task, args])).toEqual([
      ["wt.there", ["t"]],
      ["wt.deaf", []],
    ]);
    expect(planErrbacks(ended, {}, { ...options, isInline })).toEqual({ inline: [], plans: [] });
  });

  test("the body of a chord keeps the parent it was given when the chord was sent", () => {
    const body = task("xsum", [], { task_id: "b", parent_id: "p", root_id: "q" });
    expect(planChordBody(body, [1], ended, options).calls[0]?.options).toEqual({
      task_id: "b",
      parent_id: "p",
      root_id: "q",
    });
  });

  test("a chord whose body is a group fails all of it, and calls the errbacks of each member", () => {
    const members = ["a", "b"].map((name) =>
      task(name, [], { task_id: name, group_id: "o", group_index: 0, chord: task("outer"), link_error: [task("err")] }),
    );
    const { plans, failed } = planChordErrbacks(createGroup(members), ended, { ...options, isInline });
    expect(plans.flatMap((plan) => plan.calls.map((call) => call.args))).toEqual([["a"], ["b"]]);
    expect(failed.map(({ taskId, groupId, chord }) => [taskId, groupId, chord?.task])).toEqual([
      ["a", "o", "wt.outer"],
      ["b", "o", "wt.outer"],
    ]);
  });

  test("of a chord that was never opened the header fails too, but reports to nobody", () => {
    const waiting = createChain([task("first"), createChord([task("h1"), task("h2")], task("body")), task("last")]);
    const call = planSignature(waiting, { newId: countingIds() }).calls[0] as Call;
    const failed = failedChainIds({ chain: call.options.chain });
    expect(failed).toHaveLength(4);
    expect(failed.map(({ chord }) => chord)).toEqual([null, null, null, null]);
  });
});

describe("a retry", () => {
  const { headers, properties, body } = sent("task_stamped", 0);

  test("keeps stamps, limits, callers' headers and what follows, and drops what is true of one delivery only", () => {
    const embed = { callbacks: [task("a")], errbacks: [task("b")], chain: [task("c")], chord: task("d") };
    const first = {
      ...headers,
      ...{ parent_id: "p", expires: "2030-01-01T00:00:00+00:00", timelimit: [9, 5] as const, shadow: "s", retries: 2 },
      ...{ mine: 1, redelivered: true, "x-death": [], "x-first-death-queue": "q", compression: "application/gzip" },
    };
    const { options } = planRetry(first, { ...properties, priority: 3 }, [[1], { a: 2 }, embed], { countdown: 4 });
    expect(options).toMatchObject({
      ...{ task_id: headers.id, root_id: headers.root_id, parent_id: "p", retries: 3, countdown: 4, priority: 3 },
      ...{ expires: first.expires, time_limit: 9, soft_time_limit: 5, shadow: "s", compression: "application/gzip" },
      ...{ stamped_headers: headers.stamped_headers, stamp1: "v1", stamp2: ["a", "b"], headers: { mine: 1 } },
      ...{ link: embed.callbacks, link_error: embed.errbacks, chain: embed.chain, chord: embed.chord },
    });
    expect(options).not.toHaveProperty("eta");
  });

  test("goes back through the exchange it came from, unless it is told otherwise", () => {
    const address = { exchange: "topics", routingKey: "a.b" };
    const { options } = planRetry(headers, properties, body, { address });
    expect(options).toMatchObject({ exchange: "topics", routing_key: "a.b" });
    const anonymous = { exchange: "", routingKey: "q" };
    const said = { queue: undefined, priority: undefined };
    expect(planRetry(headers, properties, body, { address: anonymous, options: said }).options.queue).toBe("q");
    const elsewhere = planRetry(headers, properties, body, { address, options: { queue: "other" } }).options;
    expect([elsewhere.queue, elsewhere.exchange, elsewhere.routing_key]).toEqual(["other", undefined, undefined]);
    const moved = planRetry(headers, properties, body, {
      address: anonymous,
      options: { queue: "other" },
    });
    expect(moved.options.queue).toBe("other");
  });

  test("with other arguments is printed anew", () => {
    const call = planRetry(headers, properties, body, { args: [9] });
    expect(call.args).toEqual([9]);
    expect(call.options).not.toHaveProperty("argsrepr");
  });
});
