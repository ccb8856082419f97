import { runInNewContext } from "node:vm";
import { globToRegExp } from "../util/glob.ts";

/** A remote control command as it travels (protocol 10.1). */
export interface ControlRequest {
  readonly method: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  /** Nodes it is for; null or empty for all, unless `pattern` and `matcher` choose. */
  readonly destination: readonly string[] | string | null;
  readonly pattern: string | null;
  /** `glob` or `pcre`. */
  readonly matcher: string | null;
  /** Marks the replies to this request. */
  readonly ticket?: string;
  /** Where the reply goes; absent when none is wanted. */
  readonly reply_to?: ReplyAddress;
}

export interface ReplyAddress {
  readonly exchange: string;
  readonly routing_key: string;
}

/** Most characters of a pattern of node names. */
const longestPattern = 1_000;

/** Milliseconds of work a node name may be compared with a pattern: longer takes only what was made to take long. */
const matchingMs = 50;
/** Times it may be begun anew on a machine that is too busy to do so little in so long. */
const mostTries = 20;

/**
 * Reads the body of a control message. Celery's workers need no more than `method` (protocol 14),
 * and so do we. Throws `TypeError` for what is no command.
 */
export function readControlRequest(body: unknown): ControlRequest {
  if (!isRecord(body)) throw new TypeError("it is not an object");
  const { method, arguments: given, destination, pattern, matcher, ticket, reply_to: replyTo } = body;
  if (typeof method !== "string" || method === "") throw new TypeError("it names no method");
  if (given !== undefined && given !== null && !isRecord(given)) throw new TypeError("its arguments are not an object");
  return {
    method,
    arguments: isRecord(given) ? given : {},
    destination: readDestination(destination),
    pattern: readText(pattern, "pattern"),
    matcher: readText(matcher, "matcher"),
    ...(typeof ticket === "string" ? { ticket } : {}),
    ...(replyTo === undefined || replyTo === null ? {} : { reply_to: readReplyAddress(replyTo) }),
  };
}

/** Whether the request is for this node (protocol 10.1). Throws `TypeError` for a pattern that cannot be matched. */
export function isAddressedTo(request: ControlRequest, nodename: string): boolean {
  const { destination, pattern, matcher } = request;
  // A text is searched for the name, as Python's `in` does.
  if (destination !== null && destination.length > 0) return destination.includes(nodename);
  if (!pattern || !matcher) return true;
  return matchesNode(nodename, pattern, matcher);
}

/**
 * Whether a node name matches: by `glob` from end to end, by `pcre` from its beginning. Throws
 * `TypeError` for another matcher, a pattern that means nothing, or one that takes too long.
 */
export function matchesNode(nodename: string, pattern: string, matcher: string): boolean {
  if (pattern.length > longestPattern) throw new TypeError(`its pattern has more than ${longestPattern} characters`);
  switch (matcher) {
    case "glob":
      return matchesInTime(globToRegExp(pattern).source, "s", nodename);
    case "pcre":
      // Python writes the name of a group differently.
      return matchesInTime(pattern.replaceAll("(?P<", "(?<"), "y", nodename);
    default:
      throw new TypeError(`its matcher must be glob or pcre, got: ${matcher.slice(0, 64)}`);
  }
}

/** Apart from the rest of the process, where an expression made to take for ever can be stopped. */
function matchesInTime(source: string, flags: string, text: string): boolean {
  const sandbox = { source, flags, text };
  const before = process.cpuUsage();
  for (let tries = 1; ; tries += 1) {
    try {
      return runInNewContext("new RegExp(source, flags).test(text)", sandbox, { timeout: matchingMs }) === true;
    } catch (error) {
      const { user, system } = process.cpuUsage(before);
      // The clock went on while others had the processor: that is no fault of the pattern.
      const isHeldUp = isTimeout(error) && (user + system) / 1000 < matchingMs && tries < mostTries;
      if (!isHeldUp) throw new TypeError(`its pattern cannot be matched: ${(error as Error).message}`);
    }
  }
}

const isTimeout = (error: unknown): boolean =>
  (error as { readonly code?: unknown }).code === "ERR_SCRIPT_EXECUTION_TIMEOUT";

function readDestination(given: unknown): ControlRequest["destination"] {
  if (given === undefined || given === null) return null;
  if (typeof given === "string") return given;
  if (Array.isArray(given) && given.every((name) => typeof name === "string")) return given;
  throw new TypeError("its destination is not a list of node names");
}

function readText(given: unknown, key: string): string | null {
  if (given === undefined || given === null) return null;
  if (typeof given === "string") return given;
  throw new TypeError(`its ${key} is not a text`);
}

function readReplyAddress(given: unknown): ReplyAddress {
  if (isRecord(given)) {
    const { exchange, routing_key: routingKey } = given;
    if (typeof exchange === "string" && typeof routingKey === "string") return { exchange, routing_key: routingKey };
  }
  throw new TypeError("its reply_to is not an exchange and a routing key");
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
