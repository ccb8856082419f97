import { describe, expect, test } from "vitest";
import { Ignore, MaxRetriesExceededError, Reject, Retry } from "../../src/errors.ts";
import { classify, RetryRequest } from "../../src/execution/classify.ts";
import { taskWith } from "../helpers/task-options.ts";

class Busy extends Error {}
class Hopeless extends Busy {}

const request = (retries: number) => ({ id: "id-1", retries, args: [], kwargs: {} });
const task = taskWith;
const never = (): number => {
  throw new Error("no randomness needed here");
};

describe("what a thrown value means", () => {
  test("an error is a failure; one of `throws` an expected one", () => {
    const boom = new Busy("boom");
    expect(classify(boom, task({}), request(0), never)).toEqual({ kind: "failure", error: boom, expected: false });
    expect(classify(boom, task({ throws: [Busy] }), request(0), never)).toEqual({
      kind: "failure",
      error: boom,
      expected: true,
    });
  });

  test("a value that is not an error fails too", () => {
    expect(classify("oops", task({}), request(0), never)).toEqual({ kind: "failure", error: "oops", expected: false });
  });

  test("Ignore and Reject leave without a result", () => {
    expect(classify(new Ignore(), task({}), request(0), never)).toEqual({ kind: "ignore" });
    expect(classify(new Reject("no", { requeue: true }), task({}), request(0), never)).toEqual({
      kind: "reject",
      requeue: true,
      reason: "no",
    });
  });

  test("a retry without a countdown waits defaultRetryDelay", () => {
    const verdict = classify(new RetryRequest({}), task({ defaultRetryDelay: 7 }), request(0), never);
    expect(verdict).toMatchObject({ kind: "retry", options: { countdown: 7 } });
  });

  test("a plain Retry works like self.retry", () => {
    expect(classify(new Retry("", { when: 3 }), task({}), request(0), never)).toMatchObject({
      kind: "retry",
      options: { countdown: 3 },
    });
  });

  test("the retry after the last one fails with its cause, or MaxRetriesExceededError without one", () => {
    const cause = new Busy("still");
    expect(classify(new RetryRequest({ cause }), task({ maxRetries: 3 }), request(3), never)).toEqual({
      kind: "failure",
      error: cause,
      expected: false,
    });
    const verdict = classify(new RetryRequest({}), task({ maxRetries: 3 }), request(3), never);
    expect(verdict.kind === "failure" && verdict.error).toBeInstanceOf(MaxRetriesExceededError);
  });

  test("maxRetries null retries for ever", () => {
    expect(classify(new RetryRequest({ countdown: 1 }), task({ maxRetries: null }), request(1_000), never).kind).toBe(
      "retry",
    );
  });

  test("autoretryFor retries its classes, but not those of dontAutoretryFor", () => {
    const options = { autoretryFor: [Busy], dontAutoretryFor: [Hopeless], retryKwargs: { countdown: 2 } };
    expect(classify(new Busy(), task(options), request(0), never)).toMatchObject({
      kind: "retry",
      options: { countdown: 2 },
    });
    expect(classify(new Hopeless(), task(options), request(0), never)).toMatchObject({ kind: "failure" });
    expect(classify(new Error("other"), task(options), request(0), never)).toMatchObject({ kind: "failure" });
  });

  test.each([
    [true, [1, 2, 4, 8]],
    [3, [3, 6, 12, 24]],
  ])("retryBackoff %s doubles the delay", (retryBackoff, delays) => {
    const options = { autoretryFor: [Busy], retryBackoff, retryJitter: false, maxRetries: null };
    const seen = delays.map((_, retries) => {
      const verdict = classify(new Busy(), task(options), request(retries), never);
      return verdict.kind === "retry" ? verdict.options.countdown : null;
    });
    expect(seen).toEqual(delays);
  });

  test("retryBackoffMax caps it and jitter draws below it", () => {
    const options = { autoretryFor: [Busy], retryBackoff: true, retryBackoffMax: 100, maxRetries: null };
    const verdict = classify(new Busy(), task(options), request(30), () => 0.999999);
    expect(verdict).toMatchObject({ kind: "retry", options: { countdown: 100 } });
    expect(classify(new Busy(), task(options), request(30), () => 0)).toMatchObject({ options: { countdown: 0 } });
  });
});
