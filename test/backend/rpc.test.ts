import { defaultBackendOptions } from "../../src/backend/options.ts";
import { createRpcBackend } from "../../src/backend/rpc/backend.ts";
import { backendContract } from "../contract/backend.ts";
import { describeWith, freshVhost } from "../helpers/services.ts";

describeWith(["amqp", "vhost"], "RabbitMQ", () => {
  backendContract("rpc", async () => {
    const vhost = await freshVhost();
    return {
      capabilities: { persistent: false, groups: false, chords: false, expiry: false },
      async connect(overrides) {
        return createRpcBackend("rpc://", { ...defaultBackendOptions, brokerUrls: [vhost.url], ...overrides });
      },
      async dispose() {
        await vhost[Symbol.asyncDispose]();
      },
    };
  });
});
