import { expect, test } from "vitest";
import { createBackend } from "../../src/backend/connect.ts";
import { defaultBackendOptions } from "../../src/backend/options.ts";
import { metaOf, recordOf } from "../contract/backend.ts";

const disabled = () => createBackend("disabled://", defaultBackendOptions);

test("a disabled backend takes results and keeps none", async () => {
  const backend = await disabled();
  await backend.prepare();
  await backend.store(recordOf(metaOf(1)));
  await backend.forget("x");
  expect(await backend.cleanup()).toBe(0);
  expect(await backend.addChordPart("g", { taskId: "t", index: 0, state: "SUCCESS", result: 1 })).toBeUndefined();
  expect(backend.features).toEqual({ persistent: false, chords: false });
  await backend.close();
});

test("a disabled backend says how to get results when one is asked for", async () => {
  const backend = await disabled();
  const refusal = /no result backend is configured.*set resultBackend/;
  await expect(backend.load("x")).rejects.toThrow(refusal);
  expect(() => backend.watch(["x"], {})).toThrow(refusal);
  await expect(backend.saveGroup("g", [["g", null], null])).rejects.toThrow(refusal);
  await expect(backend.openChord("g", 2)).rejects.toThrow(refusal);
});
