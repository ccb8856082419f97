import type { SignatureDict } from "../protocol/signature.ts";
import { pythonRepr } from "../util/repr.ts";
import { chainTasks, createChain, isChain } from "./chain.ts";
import { chordBody, chordHeader, isChord } from "./chord.ts";
import { groupTasks, isGroup } from "./group.ts";

/**
 * A signature as Python shows it (inventory D6, D43, D57, D77, D78): `proj.add(2, 2) | mul(8)`.
 * The module of the first task is said once.
 */
export function signatureRepr(signature: SignatureDict): string {
  if (isChain(signature)) {
    const tasks = chainTasks(signature);
    const [first] = tasks;
    if (first === undefined) return "<chain: empty>";
    return once(first.task, tasks.map(signatureRepr).join(" | "));
  }
  if (isGroup(signature)) {
    const tasks = groupTasks(signature);
    const [first] = tasks;
    return first === undefined ? "group(<empty>)" : once(first.task, `group(${listRepr(tasks, "(", ")")})`);
  }
  if (isChord(signature)) {
    const header = listRepr(groupTasks(chordHeader(signature)), "[", "]");
    const body = chordBody(signature);
    if (!isChain(body)) return `%${once(body.task, callRepr(body, header))}`;
    const [first, ...rest] = chainTasks(body);
    if (first === undefined) return `<chord without body: ${header}>`;
    const whole = `${callRepr(first, header)} | ${rest.length === 1 ? signatureRepr(rest[0] as SignatureDict) : signatureRepr(createChain(rest))}`;
    return `%(${once(first.task, whole)})`;
  }
  switch (signature.subtask_type) {
    case "xmap":
      return `[${inner(signature)}(x) for x in ${itRepr(signature)}]`;
    case "xstarmap":
      return `[${inner(signature)}(*x) for x in ${itRepr(signature)}]`;
    default:
      return callRepr(signature);
  }
}

/** `task(args, key=value)`; `before` stands in front of the arguments. */
function callRepr({ task, args, kwargs }: SignatureDict, before?: string): string {
  const named = Object.entries(kwargs).map(([key, value]) => `${key}=${shown(value)}`);
  return `${task}(${[...(before === undefined ? [] : [before]), ...args.map(shown), ...named].join(", ")})`;
}

const shown = (value: unknown): string => pythonRepr(value, { maxLength: 100 });
const inner = (signature: SignatureDict): string => (signature.kwargs.task as SignatureDict).task;
const itRepr = (signature: SignatureDict): string => shown(signature.kwargs.it);

function listRepr(tasks: readonly SignatureDict[], open: string, close: string): string {
  const comma = open === "(" && tasks.length === 1 ? "," : "";
  return `${open}${tasks.map(signatureRepr).join(", ")}${comma}${close}`;
}

/** Celery's `remove_repeating_from_task`: the module after its first mention is left out. */
function once(task: string, text: string): string {
  const module = task.slice(0, task.lastIndexOf(".") + 1);
  if (module === "") return text;
  const at = text.indexOf(module);
  return at < 0 ? text : text.slice(0, at + module.length) + text.slice(at + module.length).replaceAll(module, "");
}
