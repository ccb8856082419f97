import type { ReceivedEvent } from "../protocol/event.ts";
import { pythonRepr } from "../util/repr.ts";

/** Celery's words for events of workers; those of tasks are read as they are. */
const words: Readonly<Record<string, string>> = {
  "worker-offline": "shutdown",
  "worker-online": "started",
  "worker-heartbeat": "heartbeat",
};

/** Tasks whose names are remembered for the events that do not say them. */
const namesKept = 4095;

/** Says each event in a line, as `celery events --dump` does (inventory F72, K24). */
export class Dumper {
  readonly #names = new Map<string, string>();

  line(event: ReceivedEvent): string {
    const { timestamp, type, hostname, uuid, ...rest } = event;
    const kind = type.toLowerCase();
    const head = `${hostname} [${pythonTime(timestamp)}] ${words[kind] ?? kind.replaceAll("-", " ")}`;
    if (!kind.startsWith("task-")) {
      const fields = listed(uuid === undefined ? rest : { ...rest, uuid });
      return `${head}${fields === "" ? "" : ":"} ${fields}`;
    }
    const { task, others } = this.#task(kind, String(uuid), rest);
    const fields = listed(others);
    return `${head}${fields === "" ? "" : ":"} ${task} ${fields}`;
  }

  #task(
    kind: string,
    uuid: string,
    fields: Readonly<Record<string, unknown>>,
  ): { readonly task: string; readonly others: Readonly<Record<string, unknown>> } {
    if (kind !== "task-received" && kind !== "task-sent") return { task: this.#names.get(uuid) ?? "", others: fields };
    const { name, args, kwargs, ...others } = fields;
    const task = `${shown(name)}(${uuid}) args=${shown(args)} kwargs=${shown(kwargs)}`;
    this.#names.delete(uuid);
    this.#names.set(uuid, task);
    if (this.#names.size > namesKept) this.#names.delete(this.#names.keys().next().value as string);
    return { task, others };
  }
}

const listed = (fields: Readonly<Record<string, unknown>>): string =>
  Object.keys(fields)
    .sort()
    .map((key) => `${key}=${shown(fields[key])}`)
    .join(", ");

/** As Python's `str`: text bare, all else by its repr. */
const shown = (value: unknown): string => (typeof value === "string" ? value : pythonRepr(value));

/** As Python prints an aware `datetime` in UTC: microseconds, left out when there are none. */
function pythonTime(seconds: number): string {
  const whole = Math.floor(seconds);
  const micros = Math.round((seconds - whole) * 1e6);
  const text = new Date(whole * 1000).toISOString().slice(0, 19).replace("T", " ");
  return `${text}${micros === 0 ? "" : `.${String(micros).padStart(6, "0")}`}+00:00`;
}
