import { expect, test } from "vitest";
import { createLogger } from "../../src/log-writer.ts";
import { type Descent, Ladder, type LadderOptions } from "../../src/worker/ladder.ts";
import { onSignal } from "../../src/worker/shutdown.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";

const plain = { remapTerm: false, soft: false };

test("TERM is a warm shutdown with exit code 0, however often it comes", () => {
  expect(onSignal("running", "SIGTERM", 0)).toMatchObject({ phase: "warm", exitCode: 0 });
  expect(onSignal("warm", "SIGTERM", 0)).toEqual({
    phase: "warm",
    message: "worker: Warm shutdown (MainProcess)",
    exitCode: 0,
  });
  expect(onSignal("soft", "SIGTERM", 1)).toEqual({ phase: "soft", message: null, exitCode: 1 });
  expect(onSignal("cold", "SIGTERM", 1)).toEqual({ phase: "cold", message: null, exitCode: 1 });
});

test("Ctrl-C climbs from warm over cold to at once, with exit code 1", () => {
  const first = onSignal("running", "SIGINT", 0);
  expect(first).toMatchObject({ phase: "warm", exitCode: 1 });
  expect(first.message).toContain("Hitting Ctrl+C again will initiate cold shutdown");
  const second = onSignal(first.phase, "SIGINT", first.exitCode);
  expect(second).toMatchObject({ phase: "cold", exitCode: 1 });
  expect(second.message).toContain("Hitting Ctrl+C again will terminate all running tasks!");
  expect(onSignal(second.phase, "SIGINT", second.exitCode)).toMatchObject({ phase: "now", exitCode: 1 });
});

test("QUIT is cold, and 0 unless it was interrupted before", () => {
  expect(onSignal("running", "SIGQUIT", 0)).toMatchObject({ phase: "cold", exitCode: 0 });
  expect(onSignal("warm", "SIGQUIT", 1)).toMatchObject({ phase: "cold", exitCode: 1 });
  expect(onSignal("cold", "SIGQUIT", 0)).toMatchObject({ phase: "now" });
});

test("where a soft shutdown is wanted it comes before the cold one, and the next signal ends it", () => {
  const soft = { remapTerm: false, soft: true };
  for (const signal of ["SIGQUIT", "SIGINT"] as const) {
    const first = onSignal("warm", signal, 0, soft);
    expect(first.phase).toBe("soft");
    const second = onSignal("soft", signal, first.exitCode, soft);
    expect(second.phase).toBe("cold");
    expect(second.message).toContain("Waiting gracefully for cold shutdown to complete...");
    expect(onSignal("cold", signal, 0, soft).phase).toBe("now");
  }
  expect(onSignal("running", "SIGINT", 0, soft).phase).toBe("warm");
  expect(onSignal("running", "SIGTERM", 0, soft).phase).toBe("warm");
});

test("a remapped TERM is QUIT", () => {
  const remapped = { remapTerm: true, soft: false };
  for (const phase of ["running", "warm", "soft", "cold"] as const) {
    expect(onSignal(phase, "SIGTERM", 0, remapped)).toEqual(onSignal(phase, "SIGQUIT", 0, plain));
  }
});

async function ladder(options: Partial<LadderOptions>) {
  const folder = await temporaryFolder();
  const steps: Descent[] = [];
  const said: string[] = [];
  const exits: number[] = [];
  const made = new Ladder({
    remapTerm: false,
    softTimeout: 0,
    softOnIdle: false,
    grace: null,
    logger: createLogger({ level: "INFO", destination: folder.file("log") }),
    busy: () => true,
    onStep: (step) => steps.push(step),
    say: (message) => said.push(message),
    exit: (code) => exits.push(code),
    ...options,
  });
  const dispose = async (): Promise<void> => {
    made[Symbol.dispose]();
    await folder[Symbol.asyncDispose]();
  };
  return { made, steps, said, exits, [Symbol.asyncDispose]: dispose };
}

test("a ladder goes down only, tells of each step once, and keeps the worse exit code", async () => {
  await using scene = await ladder({});
  const { made, steps, exits } = scene;
  made.shutdown("warm", 0);
  expect(made.stopping.aborted).toBe(true);
  made.signal("SIGTERM");
  made.signal("SIGINT");
  made.shutdown("warm", 0);
  expect(made.cold.aborted).toBe(true);
  expect(steps).toEqual([
    { sig: null, how: "Warm", exitCode: 0 },
    { sig: "SIGINT", how: "Cold", exitCode: 1 },
  ]);
  expect(made.exitCode).toBe(1);
  made.signal("SIGINT");
  expect(exits).toEqual([1]);
});

test("a warm shutdown turns cold when its grace is over", async () => {
  await using scene = await ladder({ grace: 0.05 });
  scene.made.signal("SIGTERM");
  expect(scene.made.phase).toBe("warm");
  await until(() => scene.made.cold.aborted);
  expect(scene.said).toEqual(["worker: Warm shutdown (MainProcess)", "worker: Cold shutdown (MainProcess)"]);
  expect(scene.made.exitCode).toBe(0);
});

test("a soft shutdown lets an idle worker go, unless it shall wait all the same", async () => {
  await using idle = await ladder({ softTimeout: 60, busy: () => false });
  idle.made.signal("SIGQUIT");
  expect(idle.made.phase).toBe("cold");
  await using early = await ladder({ softTimeout: 60 });
  early.made.signal("SIGQUIT");
  expect(early.made.phase).toBe("soft");
  await early.made.held();
  await using stays = await ladder({ softTimeout: 0.05, softOnIdle: true, busy: () => false });
  stays.made.signal("SIGQUIT");
  expect(stays.made.phase).toBe("soft");
  const began = performance.now();
  await stays.made.held();
  expect(performance.now() - began).toBeGreaterThan(40);
  expect(stays.made.phase).toBe("cold");
});
