import { createAmqpBroker } from "../../src/broker/amqp/broker.ts";
import type { Broker } from "../../src/broker/broker.ts";
import { defaultBrokerOptions } from "../../src/broker/options.ts";
import { brokerContract } from "../contract/broker.ts";
import { startProxy, type Proxy as TcpProxy } from "../fault/proxy.ts";
import { describeWith, freshVhost } from "../helpers/services.ts";

describeWith(["amqp", "vhost"], "RabbitMQ", () => {
  brokerContract("amqp", async () => {
    const vhost = await freshVhost();
    const proxies = new Map<Broker, TcpProxy>();
    return {
      prefix: "contract.",
      // basic.reject puts a message back where it was: what Celery does on RabbitMQ, and all AMQP offers.
      capabilities: { requeueGoesBehind: false, showsParked: false, locates: false },
      async connect(overrides) {
        const proxy = await startProxy(vhost.url);
        const broker = createAmqpBroker(proxy.url, { ...defaultBrokerOptions, ...overrides });
        proxies.set(broker, proxy);
        await broker.connect();
        return broker;
      },
      async abandon(broker) {
        proxies.get(broker)?.cut();
      },
      async dispose() {
        for (const proxy of proxies.values()) await proxy[Symbol.asyncDispose]();
        await vhost[Symbol.asyncDispose]();
      },
    };
  });
});
