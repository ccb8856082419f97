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
