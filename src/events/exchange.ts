import type { Broker, Exchange } from "../broker/broker.ts";

/** The exchange of events: topics, except on Redis, where kombu publishes them as broadcasts (protocol 12.1). */
export function eventExchange(name: string, transport: Broker["transport"]): Exchange {
  return { name, type: transport === "redis" ? "fanout" : "topic", durable: true };
}
