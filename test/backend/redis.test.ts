import { defaultBackendOptions } from "../../src/backend/options.ts";
import { createRedisBackend } from "../../src/backend/redis/backend.ts";
import { backendContract } from "../contract/backend.ts";
import { describeWith, freshRedis } from "../helpers/services.ts";

describeWith("redis-server", "the Redis result store", () => {
  backendContract("redis", async () => {
    const server = await freshRedis();
    return {
      connect: async (overrides = {}) => createRedisBackend(server.url, { ...defaultBackendOptions, ...overrides }),
      dispose: () => server[Symbol.asyncDispose](),
    };
  });
});
