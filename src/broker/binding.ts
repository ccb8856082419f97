import type { Exchange } from "./broker.ts";

/**
 * Whether a message with this routing key goes to a queue bound with `bindingKey`, as AMQP says:
 * direct compares, fanout ignores both, topic takes `*` for exactly one word and `#` for any
 * number of words, none included.
 */
export function bindingMatches(type: Exchange["type"], bindingKey: string, routingKey: string): boolean {
  switch (type) {
    case "direct":
      return bindingKey === routingKey;
    case "fanout":
      return true;
    case "topic":
      return bindingKey === routingKey || matchesWords(bindingKey.split("."), 0, routingKey.split("."), 0);
  }
}

function matchesWords(pattern: readonly string[], p: number, words: readonly string[], w: number): boolean {
  if (p === pattern.length) return w === words.length;
  if (pattern[p] === "#") {
    for (let rest = w; rest <= words.length; rest += 1) {
      if (matchesWords(pattern, p + 1, words, rest)) return true;
    }
    return false;
  }
  return (
    w < words.length && (pattern[p] === "*" || pattern[p] === words[w]) && matchesWords(pattern, p + 1, words, w + 1)
  );
}
