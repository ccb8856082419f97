import type { SignatureDict } from "../protocol/signature.ts";
import type { PeriodicTask } from "../task/schedule.ts";
import { argsRepr, pythonRepr } from "../util/repr.ts";
import type { CallOptions } from "./call-options.ts";

/** What `addPeriodicTask` takes beside schedule and signature. */
export interface PeriodicOptions extends CallOptions {
  /** Name of the entry; default the call as text, `proj.add(2, 2)`. */
  readonly name?: string;
  /** Before the signature's own arguments. */
  readonly args?: readonly unknown[];
  /** Rounds an interval to whole intervals. */
  readonly relative?: boolean;
}

/** One entry of beat's schedule, from a signature: Celery's `Celery._sig_to_periodic_task_entry`. Pure. */
export function periodicEntry(
  schedule: PeriodicTask["schedule"],
  signature: SignatureDict,
  given: PeriodicOptions,
): readonly [name: string, entry: PeriodicTask] {
  const { name, args = [], kwargs = {}, relative = false, ...options } = given;
  const call = {
    args: signature.immutable ? signature.args : [...args, ...signature.args],
    kwargs: signature.immutable ? signature.kwargs : { ...signature.kwargs, ...kwargs },
  };
  const entry: PeriodicTask = {
    task: signature.task,
    schedule,
    ...call,
    options: { ...signature.options, ...options },
    relative,
  };
  return [name ?? describeCall(signature.task, call.args, call.kwargs), entry];
}

/** `proj.add(2, y=3)`. */
function describeCall(task: string, args: readonly unknown[], kwargs: Readonly<Record<string, unknown>>): string {
  const positional = argsRepr(args).slice(1, -1).replace(/,$/, "");
  const named = Object.entries(kwargs).map(([key, value]) => `${key}=${pythonRepr(value)}`);
  return `${task}(${[...(positional === "" ? [] : [positional]), ...named].join(", ")})`;
}
