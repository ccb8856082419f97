import type { Broker } from "../broker/broker.ts";

/** Revokes as plain data, with the time of each in seconds since 1970. */
export interface RevokeRecord {
  readonly ids: readonly (readonly [id: string, at: number])[];
  readonly stamps: readonly (readonly [header: string, value: unknown, at: number])[];
}

/** Stamped headers as `revoke_by_stamped_headers` takes them: a value, or a list of values, of each. */
export type StampedHeaders = Readonly<Record<string, unknown>>;

/** Each stamp by itself. */
export function stampsOf(headers: StampedHeaders): [header: string, value: unknown][] {
  return Object.entries(headers).flatMap(([header, values]) =>
    [values].flat().map((value): [string, unknown] => [header, value]),
  );
}

/** What a command of the remote control revokes (protocol 10.4); null for one that revokes nothing. */
export function revokesOf(
  method: string,
  args: Readonly<Record<string, unknown>>,
): { readonly ids?: readonly string[]; readonly headers?: StampedHeaders } | null {
  switch (method) {
    case "revoke":
    case "terminate":
      return { ids: [args.task_id].flat().filter((id) => typeof id === "string") };
    case "revoke_by_stamped_headers": {
      const { headers } = args;
      if (Array.isArray(headers)) {
        return { headers: Object.fromEntries(headers.map((pair) => String(pair).split("=", 2) as [string, string])) };
      }
      return typeof headers === "object" && headers !== null ? { headers: headers as StampedHeaders } : null;
    }
    default:
      return null;
  }
}

/**
 * Leaves word of revokes in the broker, for workers that are not there to hear them. Called beside
 * the broadcast, which reaches only who listens.
 */
export async function writeRevokes(
  broker: Broker,
  revokes: { readonly ids?: readonly string[]; readonly headers?: StampedHeaders },
): Promise<void> {
  const ids = (revokes.ids ?? []).map((id) => JSON.stringify([id]));
  const stamps = stampsOf(revokes.headers ?? {}).map((stamp) => JSON.stringify(stamp));
  if (ids.length + stamps.length > 0) await broker.revokes.write([...ids, ...stamps]);
}

/** What was left word of and has not expired. */
export async function readRevokes(broker: Broker): Promise<RevokeRecord> {
  const ids: [string, number][] = [];
  const stamps: [string, unknown, number][] = [];
  for (const { text, at } of await broker.revokes.read()) {
    const [name, ...value] = partsOf(text);
    if (typeof name !== "string") continue;
    if (value.length === 0) ids.push([name, at.getTime() / 1000]);
    else stamps.push([name, value[0], at.getTime() / 1000]);
  }
  return { ids, stamps };
}

function partsOf(text: string): unknown[] {
  try {
    const parts: unknown = JSON.parse(text);
    return Array.isArray(parts) ? parts : [];
  } catch {
    return [];
  }
}
