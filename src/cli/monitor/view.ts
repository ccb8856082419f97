import type { State } from "../../events/state.ts";
import type { TaskView } from "../../events/task-view.ts";
import { EXCEPTION_STATES } from "../../protocol/states.ts";
import { plain } from "./text.ts";

/** What is shown over the list of tasks, until a key is pressed. */
export interface Dialog {
  readonly title: string;
  /** Unwrapped; each may have a bold beginning. Asked for with each picture: what is shown stays true. */
  readonly lines: (state: State) => readonly DialogLine[];
}

export interface DialogLine {
  readonly label?: string;
  readonly text: string;
  readonly tone?: "good" | "bad";
}

/** What the monitor shows, beside the state of the cluster. */
export interface View {
  /** Id of the task the keys act on. */
  readonly selected: string | null;
  readonly dialog: Dialog | null;
  /** Lines of the dialog above the screen. */
  readonly scroll: number;
  /** A new rate limit, as far as it is typed; null when none is asked for. */
  readonly prompt: string | null;
}

export const firstView: View = { selected: null, dialog: null, scroll: 0, prompt: null };

/** What the monitor has to do beside showing. */
export type Action =
  | { readonly kind: "none" }
  | { readonly kind: "beep" }
  | { readonly kind: "quit" }
  | { readonly kind: "revoke"; readonly id: string }
  | { readonly kind: "rate-limit"; readonly task: string; readonly rate: string };

export interface Step {
  readonly view: View;
  readonly action: Action;
}

const show = (view: View): Step => ({ view, action: { kind: "none" } });
const beep = (view: View): Step => ({ view, action: { kind: "beep" } });

/**
 * What a key does (inventory K26): `J` and `K` or the arrows select, `I` or Enter shows details,
 * `T` the traceback, `R` the result, `C` revokes, `L` limits the rate, `W` shows the workers, and
 * ^C or `Q` quits. Pure. Keys by terminal-kit's names; `page` is the number of tasks on the screen.
 */
export function onKey(view: View, key: string, state: State, page: number): Step {
  if (key === "CTRL_C") return { view, action: { kind: "quit" } };
  if (view.prompt !== null) return onPromptKey(view, view.prompt, key, state);
  if (view.dialog !== null) return onDialogKey(view, key, page);
  const task = view.selected === null ? undefined : state.tasks.get(view.selected);
  switch (key.length === 1 ? key.toUpperCase() : key) {
    case "J":
    case "DOWN":
      return show(move(view, state, 1));
    case "K":
    case "UP":
      return show(move(view, state, -1));
    case "PAGE_DOWN":
      return show(move(view, state, page));
    case "PAGE_UP":
      return show(move(view, state, -page));
    case "HOME":
      return show(move(view, state, Number.NEGATIVE_INFINITY));
    case "END":
      return show(move(view, state, Number.POSITIVE_INFINITY));
    case "I":
    case "ENTER":
      return task ? open(view, detailsOf(task)) : beep(view);
    case "T":
      return task && EXCEPTION_STATES.has(task.state) ? open(view, tracebackOf(task)) : beep(view);
    case "R":
      return task ? open(view, resultOf(task)) : beep(view);
    case "C":
      return view.selected === null ? beep(view) : { view, action: { kind: "revoke", id: view.selected } };
    case "L":
      return task?.name ? show({ ...view, prompt: "" }) : beep(view);
    case "W":
      return open(view, { title: "Workers", lines: workerLines });
    case "Q":
      return { view, action: { kind: "quit" } };
    default:
      return show(view);
  }
}

function onDialogKey(view: View, key: string, page: number): Step {
  const by: Readonly<Record<string, number>> = { DOWN: 1, UP: -1, PAGE_DOWN: page, PAGE_UP: -page };
  const step = by[key];
  if (step === undefined) return show({ ...view, dialog: null, scroll: 0 });
  return show({ ...view, scroll: Math.max(0, view.scroll + step) });
}

function onPromptKey(view: View, typed: string, key: string, state: State): Step {
  if (key === "ESCAPE") return show({ ...view, prompt: null });
  if (key === "BACKSPACE") return show({ ...view, prompt: typed.slice(0, -1) });
  if (key !== "ENTER") return show(key.length === 1 ? { ...view, prompt: typed + key } : view);
  const name = view.selected === null ? null : (state.tasks.get(view.selected)?.name ?? null);
  const closed = { ...view, prompt: null };
  const rate = typed.trim();
  return name === null || rate === ""
    ? show(closed)
    : { view: closed, action: { kind: "rate-limit", task: name, rate } };
}

/** From nothing selected, the first step takes the first task. */
function move(view: View, state: State, by: number): View {
  const tasks = state.tasksByTime();
  if (tasks.length === 0) return view;
  const at = tasks.findIndex(({ uuid }) => uuid === view.selected);
  const next = at < 0 ? 0 : Math.min(tasks.length - 1, Math.max(0, at + by));
  return { ...view, selected: (tasks[next] as TaskView).uuid };
}

export const open = (view: View, dialog: Dialog): Step => show({ ...view, dialog, scroll: 0 });

function detailsOf(task: TaskView): Dialog {
  const { args, kwargs, ...others } = { args: task.args, kwargs: task.kwargs, ...task.info(), state: task.state };
  const fields: readonly (readonly [string, unknown])[] = [
    ["args", args],
    ["kwargs", kwargs],
    ...Object.entries(others),
    ...(task.worker === null ? [] : [["worker", task.worker.hostname] as const]),
    ...Object.entries(task.steps).map(([step, seconds]) => [step, new Date(seconds * 1000).toISOString()] as const),
  ];
  return {
    title: `Task details for ${task.uuid}`,
    lines: () => fields.map(([key, value]) => ({ label: `${wireName(key)}: `, text: plain(String(value)) })),
  };
}

/** A field as Celery names it: `root_id`. */
export const wireName = (key: string): string => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function tracebackOf(task: TaskView): Dialog {
  const text = task.traceback ?? task.exception ?? "";
  return {
    title: `Task Exception Traceback for ${task.uuid}`,
    lines: () => text.split("\n").map((line) => ({ text: plain(line) })),
  };
}

function resultOf(task: TaskView): Dialog {
  const text = task.result ?? task.exception ?? "";
  return {
    title: `Task Result for ${task.uuid}`,
    lines: () => text.split("\n").map((line) => ({ text: plain(line) })),
  };
}

function workerLines(state: State): readonly DialogLine[] {
  const workers = [...state.workers.values()].sort((a, b) => (a.hostname < b.hostname ? -1 : 1));
  return workers.map((worker) => ({
    label: `${plain(worker.hostname)} `,
    text: plain(
      `${worker.statusString} active:${worker.active ?? "?"} processed:${worker.processed ?? "?"} ` +
        `load:${(worker.loadavg ?? []).join(" ")} ${worker.swIdent ?? "?"} ${worker.swVer ?? ""}`.trimEnd(),
    ),
    tone: worker.alive ? ("good" as const) : ("bad" as const),
  }));
}

/** The answers of workers to a command. */
export function repliesOf(replies: readonly Readonly<Record<string, unknown>>[]): Dialog {
  const lines = replies.flatMap((reply) =>
    Object.entries(reply).map(([node, answer]): DialogLine => {
      const { ok, error } = (answer ?? {}) as { readonly ok?: unknown; readonly error?: unknown };
      const label = `${plain(node)}: `;
      if (error !== undefined) return { label, text: plain(String(error)), tone: "bad" };
      return { label, text: plain(typeof ok === "string" ? ok : JSON.stringify(ok ?? answer)), tone: "good" };
    }),
  );
  const none: DialogLine = { text: "No replies received in 1s deadline.", tone: "bad" };
  return { title: "Remote Control Command Replies", lines: () => (lines.length > 0 ? lines : [none]) };
}
