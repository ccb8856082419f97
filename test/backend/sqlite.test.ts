import { expect, test } from "vitest";
import { defaultBackendOptions } from "../../src/backend/options.ts";
import { createSqliteBackend } from "../../src/backend/sqlite/backend.ts";
import { backendContract } from "../contract/backend.ts";
import { temporaryFolder } from "../helpers/tmp.ts";

backendContract("sqlite", async () => {
  const folder = await temporaryFolder();
  const url = `sqlite://${folder.file("tq.db")}`;
  return {
    connect: async (overrides) => createSqliteBackend(url, { ...defaultBackendOptions, ...overrides }),
    dispose: () => folder[Symbol.asyncDispose](),
  };
});

test("a chord's parts are handed again to the task that completed it and died before it could tell", async () => {
  await using folder = await temporaryFolder();
  const open = () => createSqliteBackend(`sqlite://${folder.file("tq.db")}`, defaultBackendOptions);
  const [one, two] = [open(), open()];
  const part = (taskId: string, index: number) => ({ taskId, index, state: "SUCCESS", result: index });
  try {
    await one.openChord("g", 2);
    // The one with the later place first: it is the last to come that counts.
    await one.addChordPart("g", part("b", 1));
    expect(await one.addChordPart("g", part("a", 0))).toHaveLength(2);
    expect(await two.addChordPart("g", part("b", 1))).toBeUndefined();
    expect(await two.addChordPart("g", part("a", 0))).toHaveLength(2);
    const third = one.addChordPart("g", part("a", 0));
    await two.closeChord("g");
    expect(await third).toBeUndefined();
  } finally {
    await Promise.all([one.close(), two.close()]);
  }
});
