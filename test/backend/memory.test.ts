import { randomUUID } from "node:crypto";
import { createMemoryBackend } from "../../src/backend/memory/backend.ts";
import { defaultBackendOptions } from "../../src/backend/options.ts";
import { backendContract } from "../contract/backend.ts";

backendContract("memory", async () => {
  const url = `memory://${randomUUID()}`;
  return {
    connect: async (overrides) => createMemoryBackend(url, { ...defaultBackendOptions, ...overrides }),
    dispose: async () => undefined,
  };
});
