import { randomUUID } from "node:crypto";
import { defaultBrokerOptions } from "../../src/broker/options.ts";
import { createSqliteBroker, type SqliteBroker } from "../../src/broker/sqlite/broker.ts";
import { brokerContract } from "../contract/broker.ts";
import { temporaryFolder } from "../helpers/tmp.ts";

brokerContract("sqlite", async () => {
  const folder = await temporaryFolder();
  const url = `sqlite://${folder.file("tq.db")}`;
  return {
    prefix: "",
    connect: async (overrides) => {
      // Each broker is on a machine of its own, so that leases are what tells who lives.
      const transportOptions = { machine: randomUUID() };
      const broker = createSqliteBroker(url, { ...defaultBrokerOptions, transportOptions, ...overrides });
      await broker.connect();
      return broker;
    },
    abandon: (broker) => (broker as SqliteBroker).abandon(),
    dispose: () => folder[Symbol.asyncDispose](),
  };
});
