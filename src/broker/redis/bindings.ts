import { topicMatches } from "../../protocol/exchange.ts";
import type { RedisKeys } from "./keys.ts";

/** A member of a binding set, taken apart (protocol 6.2). */
export interface RedisBinding {
  readonly routingKey: string;
  /** Empty for direct and fanout exchanges; kombu's regular expression for topic ones. */
  readonly pattern: string;
  readonly queue: string;
}

/** Takes the members of `_kombu.binding.<exchange>` apart; what is no binding is left out. */
export function readBindings(keys: RedisKeys, members: readonly string[]): RedisBinding[] {
  return members.flatMap((member) => {
    const [routingKey = "", pattern = "", queue = ""] = member.split(keys.separator);
    return queue === "" ? [] : [{ routingKey, pattern, queue }];
  });
}

/**
 * The queues a message with this key goes to, each once. Topic keys are matched word by word, as
 * AMQP says: kombu's regular expressions let a `*` swallow several words, which RabbitMQ never did.
 */
export function boundQueues(bindings: readonly RedisBinding[], routingKey: string): string[] {
  const matches = ({ routingKey: key, pattern }: RedisBinding): boolean =>
    pattern === "" ? key === routingKey : topicMatches(key, routingKey);
  return [...new Set(bindings.filter(matches).map(({ queue }) => queue))];
}
