/**
 * The text stored as `traceback`: the stack, and below it the stack of each cause. Values that
 * are not errors say so. Bounded, so that an error carrying a huge message cannot fill a store.
 */
export function formatTraceback(thrown: unknown, limit = 65_536): string {
  const parts: string[] = [];
  const seen = new Set<unknown>();
  let current = thrown;
  while (current !== undefined && current !== null && !seen.has(current) && parts.length < 10) {
    seen.add(current);
    if (current instanceof Error) {
      const remote = (current as { readonly remoteTraceback?: unknown }).remoteTraceback;
      parts.push(
        typeof remote === "string"
          ? `${current.stack ?? current.message}\n${remote}`
          : (current.stack ?? `${current.name}: ${current.message}`),
      );
      current = current.cause;
    } else {
      parts.push(`a value that is not an Error was thrown: ${safeText(current)}`);
      break;
    }
  }
  const text = parts.join("\nCaused by: ");
  return text.length > limit ? `${text.slice(0, limit)}…` : text;
}

function safeText(value: unknown): string {
  try {
    return String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}
