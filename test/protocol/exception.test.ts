import { describe, expect, test } from "vitest";
import * as errors from "../../src/errors.ts";
import { decodeError, type ErrorConstructorLike, encodeError, errorRepr } from "../../src/protocol/exception.ts";

class Boom extends Error {}

describe("encoding", () => {
  test.each([
    [new Error("boom"), "Error", ["boom"], "tq.errors"],
    [new TypeError("bad"), "TypeError", ["bad"], "builtins"],
    [new RangeError("far"), "RangeError", ["far"], "tq.errors"],
    [new Boom("b"), "Boom", ["b"], "tq.errors"],
    [new Error(""), "Error", [], "tq.errors"],
    [new errors.NotRegistered("a.b"), "NotRegistered", ["a.b"], "celery.exceptions"],
    [new errors.TimeLimitExceeded(3), "TimeLimitExceeded", [3], "billiard.exceptions"],
    [new errors.SoftTimeLimitExceeded(""), "SoftTimeLimitExceeded", [], "billiard.exceptions"],
    [new errors.EncodeError("x"), "EncodeError", ["x"], "kombu.exceptions"],
    [new errors.Reject("no", { requeue: true }), "Reject", ["no", true], "celery.exceptions"],
    [new errors.MessageTooLarge("big", 5, 4), "MessageTooLarge", ["big"], "tq.errors"],
    [new errors.BrokerConnectionError("gone"), "BrokerConnectionError", ["gone"], "tq.errors"],
    [new errors.RemoteError("KeyError", "builtins", ["k", 1]), "KeyError", ["k", 1], "builtins"],
    [
      Object.assign(new Error("x"), { args: [1, new Set([2])], excModule: "my.errors" }),
      "Error",
      [1, "{2}"],
      "my.errors",
    ],
    [new DOMException("stop", "AbortError"), "AbortError", ["stop"], "tq.errors"],
    ["just text", "Error", ["just text"], "tq.errors"],
    [null, "Error", ["None"], "tq.errors"],
    [{ code: 1 }, "Error", ["{'code': 1}"], "tq.errors"],
  ])("%#: %s", (thrown, type, message, module) => {
    expect(encodeError(thrown)).toEqual({ exc_type: type, exc_message: message, exc_module: module });
  });

  test("a user's subclass of one of Celery's errors is not passed off as Celery's", () => {
    class MyRetry extends errors.Retry {}
    expect(encodeError(new MyRetry("x"))).toMatchObject({ exc_type: "MyRetry", exc_module: "tq.errors" });
  });
});

describe("decoding", () => {
  test("the errors both languages share come back as themselves", () => {
    for (const error of [new TypeError("bad"), new SyntaxError("worse")]) {
      const again = decodeError(encodeError(error), "trace");
      expect(again).toBeInstanceOf(error.constructor);
      expect([again.message, (again as unknown as { remoteTraceback: string }).remoteTraceback]).toEqual([
        error.message,
        "trace",
      ]);
    }
  });

  test("Celery's own exceptions are ours of the same name", () => {
    const error = decodeError(
      { exc_type: "TimeLimitExceeded", exc_message: [3], exc_module: "billiard.exceptions" },
      "trace",
    );
    expect(error).toBeInstanceOf(errors.TimeLimitExceeded);
    expect((error as errors.TimeLimitExceeded).limit).toBe(3);
    expect((error as unknown as { remoteTraceback: string }).remoteTraceback).toBe("trace");
    const reject = decodeError(
      { exc_type: "Reject", exc_message: ["no", false], exc_module: "celery.exceptions" },
      null,
    );
    expect([reject.message, (reject as errors.Reject).requeue, encodeError(reject).exc_message]).toEqual([
      "no",
      false,
      ["no", false],
    ]);
  });

  test("others are a RemoteError that says what they were", () => {
    const error = decodeError(
      { exc_type: "ValueError", exc_message: ["boom", 42], exc_module: "builtins" },
      "Traceback …",
    );
    expect(error).toBeInstanceOf(errors.RemoteError);
    expect(error).toMatchObject({
      name: "ValueError",
      message: "boom, 42",
      excModule: "builtins",
      args: ["boom", 42],
      remoteTraceback: "Traceback …",
    });
  });

  test("classes the caller names are made themselves, unless they throw", () => {
    class Picky extends Error {
      constructor(code: number) {
        super(`code ${code.toFixed(0)}`);
      }
    }
    const registry = new Map<string, ErrorConstructorLike>([
      ["app.Boom", Boom],
      ["Picky", Picky],
    ]);
    const made = decodeError({ exc_type: "Boom", exc_message: ["b"], exc_module: "app" }, null, registry);
    expect([made instanceof Boom, made.message]).toEqual([true, "b"]);
    expect(decodeError({ exc_type: "Boom", exc_message: ["b"], exc_module: "other" }, null, registry)).toBeInstanceOf(
      errors.RemoteError,
    );
    expect(decodeError({ exc_type: "Picky", exc_message: [7], exc_module: "x" }, null, registry).message).toBe(
      "code 7",
    );
    expect(
      decodeError({ exc_type: "Picky", exc_message: ["no number"], exc_module: "x" }, null, registry),
    ).toBeInstanceOf(errors.RemoteError);
  });

  test.each([
    ["oops"],
    [null],
    [5],
    [{ message: "x" }],
    [[]],
    [{ exc_type: 5, exc_message: [] }],
    [{ exc_type: "E" }],
    [{ exc_type: "constructor", exc_message: null, exc_module: "__proto__" }],
  ])("%o is some error, whatever it is", (wire) => {
    expect(decodeError(wire, null)).toBeInstanceOf(errors.RemoteError);
  });

  test("a message that is text is its argument", () => {
    expect(decodeError({ exc_type: "E", exc_message: "bad", exc_module: null }, null)).toMatchObject({
      message: "bad",
      args: ["bad"],
    });
  });
});

test("errors are shown as Python shows them", () => {
  expect(errorRepr({ exc_type: "ValueError", exc_message: ["boom", 42], exc_module: "builtins" })).toBe(
    "ValueError('boom', 42)",
  );
  expect(errorRepr({ exc_type: "Outer.Inner", exc_message: [], exc_module: null })).toBe("Inner()");
  expect(errorRepr(new TypeError("it's\n"))).toBe(`TypeError("it's\\n")`);
  expect(errorRepr(new errors.TimeLimitExceeded(1))).toBe("TimeLimitExceeded(1)");
  expect(errorRepr(new Error("x".repeat(1_000_000))).length).toBeLessThan(1100);
});
