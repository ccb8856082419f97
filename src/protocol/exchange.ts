/** Which queues a message reaches, over a table of bindings (protocol 6.2, 6.3). */

export type ExchangeType = "direct" | "topic" | "fanout";

/** A queue's wish to get messages of an exchange. */
export interface Binding {
  readonly queue: string;
  /** Exact for direct exchanges, a pattern for topic, without meaning for fanout. */
  readonly routingKey: string;
  /** The regular expression kombu stored beside a topic's key; it then decides, as it does for Python. */
  readonly pattern?: string;
}

/** Names of the queues reached, each once, in the order of the bindings. Empty when the message would be lost. */
export function matchBindings(type: ExchangeType, bindings: Iterable<Binding>, routingKey: string): string[] {
  const reached = new Set<string>();
  for (const binding of bindings) {
    if (matches(type, binding, routingKey)) reached.add(binding.queue);
  }
  return [...reached];
}

/**
 * A topic's binding key as the regular expression kombu stores beside it and matches with:
 * `#` is anything; `*` too, as long as it does not end in a dot, which is wider than AMQP's one word.
 */
export function topicPattern(bindingKey: string): string {
  return `^${bindingKey.replaceAll(".", "\\.").replaceAll("*", ".*?[^\\.]").replaceAll("#", ".*?")}$`;
}

function matches(type: ExchangeType, binding: Binding, routingKey: string): boolean {
  switch (type) {
    case "fanout":
      return true;
    case "direct":
      return binding.routingKey === routingKey;
    case "topic":
      return binding.pattern
        ? patternMatches(binding.pattern, routingKey)
        : topicMatches(binding.routingKey, routingKey);
  }
}

/** A pattern that cannot be read matches nothing. */
function patternMatches(pattern: string, routingKey: string): boolean {
  try {
    return new RegExp(pattern, "s").test(routingKey);
  } catch {
    return false;
  }
}

/**
 * Whether a topic exchange hands the key over, by AMQP's rules: `*` is exactly one word, `#`
 * any number of words, none included. Word by word, so that no key can make it slow.
 */
export function topicMatches(bindingKey: string, routingKey: string): boolean {
  const pattern = bindingKey.split(".");
  const words = routingKey === "" ? [] : routingKey.split(".");
  // `reach[i]`: the pattern so far matches the first i words.
  let reach = words.map(() => false);
  reach.unshift(true);
  for (const part of pattern) {
    const next: boolean[] = [];
    for (let count = 0; count <= words.length; count += 1) {
      const before = count > 0 && (reach[count - 1] as boolean);
      if (part === "#") next.push((reach[count] as boolean) || (next[count - 1] ?? false));
      else next.push(before && (part === "*" || part === words[count - 1]));
    }
    reach = next;
  }
  return (reach[words.length] as boolean) || (bindingKey === "" && routingKey === "");
}
