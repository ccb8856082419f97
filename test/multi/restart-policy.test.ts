import { expect, test } from "vitest";
import { afterExit } from "../../src/multi/restart-policy.ts";

const policy = { maxRestarts: 3, delay: 1, maxDelay: 3, stableAfter: 10 };
const noJitter = (): number => 0;

test("a node that does not stay up is started again after growing pauses, and then given up", () => {
  const decisions = [];
  for (let failures = 0; ; ) {
    const decision = afterExit({ failures, readyFor: failures === 1 ? 2 : null }, policy, noJitter);
    decisions.push(decision);
    if (decision.kind === "give-up") break;
    failures = decision.failures;
  }
  expect(decisions).toEqual([
    { kind: "restart", failures: 1, delay: 1 },
    { kind: "restart", failures: 2, delay: 2 },
    { kind: "restart", failures: 3, delay: 3 },
    { kind: "give-up", failures: 4 },
  ]);
});

test("one that was well for a while begins anew", () => {
  expect(afterExit({ failures: 3, readyFor: 10 }, policy, noJitter)).toEqual({
    kind: "restart",
    failures: 1,
    delay: 1,
  });
});
