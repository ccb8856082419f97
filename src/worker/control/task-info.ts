import type { Delivery } from "../../broker/broker.ts";
import type { TaskInfo } from "../../control/replies.ts";
import { encodeJson } from "../../serialization/json.ts";
import { decodeBody } from "../../serialization/registry.ts";
import type { TaskOptions } from "../../task/task.ts";
import type { Request } from "../request.ts";

/** Base64 characters of a body that is opened to be shown: beyond that the headers' text will do. */
const mostShown = 64 * 1024;

/** Of a request, or of what waits parked in the broker, the part that is shown. */
export interface ShownTask extends Pick<Request, "id" | "name" | "message" | "phase"> {
  readonly delivery: Pick<Delivery, "address" | "redelivered">;
  readonly policy: Pick<TaskOptions, "acksLate">;
}

/** What is shown of a task in hand (protocol 10.3). With `safe` its arguments are the text its sender gave. */
export async function taskInfo(
  request: ShownTask,
  view: { readonly hostname: string; readonly accept: ReadonlySet<string>; readonly safe?: boolean },
): Promise<TaskInfo> {
  const { headers, properties } = request.message;
  const { phase, delivery, policy } = request;
  const active = phase.name === "active" ? phase : null;
  const shown = view.safe ? null : await argumentsOf(request, view.accept);
  return {
    id: request.id,
    name: request.name,
    args: shown?.args ?? headers.argsrepr ?? "()",
    kwargs: shown?.kwargs ?? headers.kwargsrepr ?? "{}",
    type: headers.task,
    hostname: view.hostname,
    time_start: active === null ? null : active.since.getTime() / 1000,
    acknowledged: active !== null && !policy.acksLate,
    delivery_info: {
      exchange: delivery.address.exchange,
      routing_key: delivery.address.routingKey,
      priority: typeof properties.priority === "number" ? properties.priority : null,
      redelivered: delivery.redelivered,
    },
    worker_pid: active?.runner.pid ?? null,
  };
}

/** The arguments as they were sent; null when they are too large, cannot be read, or cannot be told on. */
async function argumentsOf(
  { message }: ShownTask,
  accept: ReadonlySet<string>,
): Promise<Pick<TaskInfo, "args" | "kwargs"> | null> {
  if (message.body.length > mostShown) return null;
  try {
    const body = await decodeBody(message, accept, { maxBytes: mostShown });
    if (!Array.isArray(body) || !Array.isArray(body[0]) || typeof body[1] !== "object" || body[1] === null) return null;
    const shown = { args: body[0] as readonly unknown[], kwargs: body[1] as Readonly<Record<string, unknown>> };
    // Other serializers have values that a reply cannot hold.
    if (message.contentType !== "application/json") encodeJson(shown);
    return shown;
  } catch {
    return null;
  }
}
