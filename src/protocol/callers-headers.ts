import { createTaskHeaders } from "./task-message.ts";

/** Celery's own headers; what a message has beside them is the caller's (protocol 1.1). */
const ownHeaders = new Set([...Object.keys(createTaskHeaders({ task: "", id: "" })), "compression", "redelivered"]);

/**
 * The caller's own headers, without stamps, without what brokers say about one delivery
 * (`x-death`, `redelivered`), which is not true of the next, and without tq's own.
 */
export function callersHeaders(headers: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const stamped = headers.stamped_headers;
  return Object.fromEntries(
    Object.entries(headers).filter(
      ([key]) =>
        !ownHeaders.has(key) &&
        !(Array.isArray(stamped) && stamped.includes(key)) &&
        !key.startsWith("tq_") &&
        !/^x-(death$|first-death-|last-death-)/.test(key),
    ),
  );
}
