import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LamportClock } from "../../src/protocol/clock.ts";
import { matchBindings, topicMatches, topicPattern } from "../../src/protocol/exchange.ts";
import { anonNodename, expandNodename, nodename, splitNodename } from "../../src/protocol/nodename.ts";
import { isReady, precedence } from "../../src/protocol/states.ts";

describe("node names", () => {
  test.each([
    [undefined, "celery@h.example.com"],
    ["", "celery@h.example.com"],
    ["w1", "w1@h.example.com"],
    ["w1@other", "w1@other"],
    ["w1@", "w1@h.example.com"],
    ["@other", "celery@other"],
    ["w1@%h", "w1@h.example.com"],
    ["w1.%d@%n", "w1.example.com@h"],
    ["50%%@%h", "50%@h.example.com"],
    ["a@b@c", "a@b@c"],
  ])("-n %s is %s", (name, full) => {
    expect(nodename(name, "h.example.com")).toBe(full);
  });

  test("templates are filled in", () => {
    const node = { nodename: "george@foo.example.com" };
    expect(expandNodename("%p %n %h %d %i%I %% %x", node)).toBe(
      "george@foo.example.com george foo.example.com example.com 0 % %x",
    );
    expect(expandNodename("/var/log/%n%I.log", { ...node, index: 3 })).toBe("/var/log/george-3.log");
    expect(expandNodename("%i.%P", { ...node, index: 3, pid: 42 })).toBe("3.42");
  });

  test("parts and anonymous names", () => {
    expect([splitNodename("a@b"), splitNodename("a"), splitNodename("@b")]).toEqual([
      ["a", "b"],
      ["a", ""],
      [null, "b"],
    ]);
    expect(anonNodename(7, "h")).toBe("gen7@h");
  });
});

describe("exchanges", () => {
  const bindings = [
    { queue: "a", routingKey: "worker.#" },
    { queue: "b", routingKey: "worker.*" },
    { queue: "c", routingKey: "#" },
    { queue: "a", routingKey: "worker.online" },
  ];

  test("hand messages to the queues bound, each once", () => {
    expect(matchBindings("topic", bindings, "worker.online")).toEqual(["a", "b", "c"]);
    expect(matchBindings("topic", bindings, "worker.elect.ack")).toEqual(["a", "c"]);
    expect(matchBindings("topic", bindings, "task.sent")).toEqual(["c"]);
    expect(matchBindings("direct", bindings, "worker.online")).toEqual(["a"]);
    expect(matchBindings("direct", bindings, "nobody")).toEqual([]);
    expect(matchBindings("fanout", bindings, "")).toEqual(["a", "b", "c"]);
  });

  test.each([
    ["#", "", true],
    ["#", "a.b", true],
    ["*", "", false],
    ["*", "a", true],
    ["*", "a.b", false],
    ["a.*.c", "a.b.c", true],
    ["a.*.c", "a.c", false],
    ["a.#.c", "a.c", true],
    ["a.#.c", "a.x.y.c", true],
    ["a.#", "a", true],
    ["#.a", "b.a", true],
    ["a+b", "aab", false],
    ["", "", true],
    ["", "a", false],
    ["#.#.x", "x", true],
  ])("%o against %o: %s", (bindingKey, routingKey, matches) => {
    expect(topicMatches(bindingKey, routingKey)).toBe(matches);
  });

  test("what kombu stored decides where it is known", () => {
    expect(topicPattern("worker.#")).toBe("^worker\\..*?$");
    expect(topicPattern("*.x")).toBe("^.*?[^\\.]\\.x$");
    const stored = [
      { queue: "q", routingKey: "a.*", pattern: topicPattern("a.*") },
      { queue: "broken", routingKey: "#", pattern: "(" },
    ];
    expect(matchBindings("topic", stored, "a.b")).toEqual(["q"]);
    expect(matchBindings("topic", stored, "a.b.c")).toEqual(["q"]);
  });

  test("no key makes matching slow", () => {
    const start = performance.now();
    expect(topicMatches(Array(50).fill("#").join(".").concat(".x"), Array(500).fill("a").join("."))).toBe(false);
    expect(performance.now() - start).toBeLessThan(500);
  });
});

test("clocks count on, and past what others knew", () => {
  const clock = new LamportClock();
  expect([
    clock.forward(),
    clock.adjust(10),
    clock.adjust(3),
    clock.adjust(null),
    clock.adjust(Number.NaN),
    clock.value,
  ]).toEqual([1, 11, 12, 13, 14, 14]);
  fc.assert(
    fc.property(fc.nat(), fc.nat(), (own, other) => new LamportClock(own).adjust(other) === Math.max(own, other) + 1),
  );
});

test("states are ranked as Celery ranks them, custom ones between failure and revoked", () => {
  const ranked = [
    "PENDING",
    "PROGRESS",
    "SUCCESS",
    "REVOKED",
    "FAILURE",
    "STARTED",
    "RETRY",
    "RECEIVED",
    "REJECTED",
  ].sort((a, b) => precedence(a) - precedence(b));
  expect(ranked).toEqual([
    "SUCCESS",
    "FAILURE",
    "PROGRESS",
    "REVOKED",
    "STARTED",
    "RECEIVED",
    "REJECTED",
    "RETRY",
    "PENDING",
  ]);
  expect([isReady("SUCCESS"), isReady("RETRY"), isReady("PROGRESS")]).toEqual([true, false, false]);
});
