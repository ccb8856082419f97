import { expect, test } from "vitest";
import { onSignal } from "../../src/worker/shutdown.ts";

test("TERM is a warm shutdown with exit code 0, however often it comes", () => {
  expect(onSignal("running", "SIGTERM", 0)).toMatchObject({ phase: "warm", exitCode: 0 });
  expect(onSignal("warm", "SIGTERM", 0)).toMatchObject({ phase: "warm", exitCode: 0 });
  expect(onSignal("cold", "SIGTERM", 1)).toMatchObject({ phase: "cold", exitCode: 1 });
});

test("Ctrl-C climbs from warm over cold to at once, with exit code 1", () => {
  const first = onSignal("running", "SIGINT", 0);
  expect(first).toMatchObject({ phase: "warm", exitCode: 1 });
  expect(first.message).toContain("Hitting Ctrl+C again will initiate cold shutdown");
  const second = onSignal(first.phase, "SIGINT", first.exitCode);
  expect(second).toMatchObject({ phase: "cold", exitCode: 1 });
  expect(onSignal(second.phase, "SIGINT", second.exitCode)).toMatchObject({ phase: "now", exitCode: 1 });
});

test("QUIT is cold", () => {
  expect(onSignal("running", "SIGQUIT", 0)).toMatchObject({ phase: "cold", exitCode: 0 });
  expect(onSignal("warm", "SIGQUIT", 1)).toMatchObject({ phase: "cold", exitCode: 1 });
  expect(onSignal("cold", "SIGQUIT", 0)).toMatchObject({ phase: "now" });
});
