import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { runInThisContext } from "node:vm";
import { expect, test } from "vitest";
import { installation } from "../../src/system/installation.ts";
import { framesOf, runningStack } from "../../src/system/running-stack.ts";

const stack = (...frames: readonly string[]): string => ["Error", ...frames.map((frame) => `    ${frame}`)].join("\n");
const question = ["at tq:stack:6:12", "at tq:stack:11:3"];
const ours = `at Executor.run (${pathToFileURL(join(installation, "dist/chunks/executor.js"))}:10:2)`;

test("a stack shows the user's code and what that calls, not the question nor who called the user's code", () => {
  const shown = [
    "at RegExp.test (<anonymous>)",
    "at Object.execSync (node:child_process:1:1)",
    "at check (/srv/p r/checks.ts:3:7)",
    "at async Promise.all (index 0)",
    "at async file:///srv/tasks.js:8:1",
  ];
  expect(framesOf(stack(...question, ...shown, ours, "at process.processTicks (node:internal/x:1:1)"))).toEqual(shown);
});

test("where there is no user's code, all of it is shown", () => {
  expect(framesOf(stack(...question, ours))).toEqual([ours]);
});

test("what is no stack has no calls", () => {
  for (const value of [undefined, null, [{}], "", "Error: at large"]) expect(framesOf(value)).toEqual([]);
  expect(framesOf(stack(...question))).toEqual([]);
});

test("code that is between two of its steps is asked again, not for ever", async () => {
  let asked = 0;
  const answers = (empty: number) => async () => {
    asked += 1;
    return asked > empty ? stack(...question, "at step (/t.js:1:1)") : stack(...question);
  };
  expect(await runningStack(answers(3))).toEqual(["at step (/t.js:1:1)"]);
  expect(asked).toBe(4);
  asked = 0;
  expect(await runningStack(answers(1_000))).toBeNull();
  expect(asked).toBe(50);
});

test("asking leaves the process's way with errors as it was", async () => {
  const before = Object.getOwnPropertyDescriptors(Error);
  const frames = await runningStack(async (expression) => runInThisContext(expression));
  expect(frames?.length).toBeGreaterThan(0);
  expect(Error.stackTraceLimit).toBe(before.stackTraceLimit?.value);
  expect(Error.prepareStackTrace).toBe(before.prepareStackTrace?.value);
});
