import { randomUUID } from "node:crypto";
import { createMemoryBroker } from "../../src/broker/memory/broker.ts";
import { defaultBrokerOptions } from "../../src/broker/options.ts";
import { brokerContract } from "../contract/broker.ts";

brokerContract("memory", async () => {
  const url = `memory://${randomUUID()}`;
  return {
    prefix: "",
    capabilities: { outlivedByHeld: false },
    connect: async (overrides) => {
      const broker = createMemoryBroker(url, { ...defaultBrokerOptions, ...overrides });
      await broker.connect();
      return broker;
    },
    // Memory ends with its process, so a broker that just stops is all that can happen to it.
    abandon: (broker) => broker.close(),
    dispose: async () => undefined,
  };
});
