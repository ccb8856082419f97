import { expect, test } from "vitest";
import { isInSight, thisProcess } from "../../src/system/process-identity.ts";

test("a process is in the sight of all others where it is in no container and the system tells when it started", () => {
  const onHost = { machine: "6b0c/pid:[4026531836]", pid: 7, started: "123" };
  expect(isInSight(onHost)).toBe(true);
  expect(isInSight({ ...onHost, machine: "6b0c/pid:[4026532201]" })).toBe(false);
  expect(isInSight({ ...onHost, machine: "a-host-name" })).toBe(false);
  expect(isInSight({ ...onHost, started: "" })).toBe(false);
  expect(typeof isInSight(thisProcess())).toBe("boolean");
});
