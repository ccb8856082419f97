import { defaultBrokerOptions } from "../../src/broker/options.ts";
import { createRedisBroker, type RedisBroker } from "../../src/broker/redis/broker.ts";
import { brokerContract } from "../contract/broker.ts";
import { describeWith, freshRedis } from "../helpers/services.ts";

describeWith("redis-server", "the Redis broker", () => {
  brokerContract("redis", async () => {
    const server = await freshRedis();
    return {
      prefix: "contract.",
      async connect(overrides = {}) {
        const broker = createRedisBroker(server.url, { ...defaultBrokerOptions, ...overrides });
        await broker.connect();
        return broker;
      },
      async abandon(broker) {
        (broker as RedisBroker).abandon();
      },
      dispose: () => server[Symbol.asyncDispose](),
    };
  });
});
