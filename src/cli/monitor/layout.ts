import type { State } from "../../events/state.ts";
import type { TaskView } from "../../events/task-view.ts";
import { EXCEPTION_STATES } from "../../protocol/states.ts";
import { abbreviate, abbreviateTask, columnsOf, pad, plain, wrap } from "./text.ts";
import { type Dialog, type View, wireName } from "./view.ts";

export interface Size {
  readonly width: number;
  readonly height: number;
}

export interface Style {
  readonly bold?: boolean;
  readonly underline?: boolean;
  readonly inverse?: boolean;
  readonly dim?: boolean;
  readonly color?: "red" | "green" | "yellow" | "magenta" | "blue";
}

/** A piece of text at a place of the screen; both counted from 0. */
export interface Piece {
  readonly x: number;
  readonly y: number;
  readonly text: string;
  readonly style: Style;
}

/** Lines that are not tasks: greeting, heading, footer and frame (inventory K25). */
const otherLines = 10;

const left = 3;
const uuidWidth = 36;
const stateWidth = 8;
const timeWidth = 8;
const leastWorker = 15;
const leastTask = 16;

/** How many tasks fit on a screen. */
export const tasksPerPage = ({ height }: Size): number => Math.max(1, height - otherLines);

export interface Scene {
  readonly state: State;
  readonly view: View;
  readonly greeting: string;
  /** Shown instead of the counts: what is wrong with the connection. */
  readonly trouble: string | null;
  readonly now: Date;
}

/** The whole screen as pieces of text. Pure; whatever is too long for it is cut. */
export function layOut(scene: Scene, size: Size): Piece[] {
  const pieces = scene.view.dialog === null ? list(scene, size) : dialog(scene.view.dialog, scene, size);
  return pieces
    .filter(({ x, y }) => y >= 0 && y < size.height && x < size.width)
    .map((piece) => ({ ...piece, text: abbreviate(piece.text, size.width - piece.x) }));
}

function list({ state, view, greeting, trouble, now }: Scene, size: Size): Piece[] {
  const { width, height } = size;
  const row = rowFormat(width);
  const pieces: Piece[] = [
    { x: left, y: 0, text: greeting, style: { color: "blue", dim: true } },
    {
      x: left,
      y: 2,
      text: row({ uuid: "UUID", worker: "WORKER", task: "TASK", time: "TIME", state: "STATE" }),
      style: { bold: true, underline: true },
    },
  ];
  for (const [index, task] of visibleTasks(state, view, tasksPerPage(size)).entries()) {
    pieces.push(...taskRow(task, view, row, 3 + index, now));
  }
  pieces.push({ x: left, y: height - 6, text: "─".repeat(Math.max(0, width - 2 * left)), style: { dim: true } });
  pieces.push(...selectedLine(state, view, height - 5, width));
  pieces.push(...workersLine(state, height - 4, now));
  const alive = state.aliveWorkers(now).length;
  const counts = `events: ${state.eventCount} tasks:${state.taskCount} workers:${alive}/${state.workers.size}`;
  pieces.push(
    ...labelled("Info: ", trouble ?? counts, height - 3, trouble === null ? { dim: true } : { color: "red" }),
  );
  if (view.prompt !== null) pieces.push(...labelled("New rate limit: ", `${view.prompt}_`, height - 2, {}));
  else {
    const keys = "j:down k:up i:info t:traceback r:result c:revoke l:rate limit w:workers ^c: quit";
    pieces.push(...labelled("Keys: ", keys, height - 2, { dim: true }));
  }
  return pieces;
}

/** The newest tasks; further down where the selection is further down. */
function visibleTasks(state: State, { selected }: View, page: number): TaskView[] {
  const tasks = state.tasksByTime();
  const at = Math.max(
    0,
    tasks.findIndex(({ uuid }) => uuid === selected),
  );
  const first = Math.max(0, at - page + 1);
  return tasks.slice(first, first + page);
}

interface Row {
  readonly uuid: string;
  readonly worker: string;
  readonly task: string;
  readonly time: string;
  readonly state: string;
}

/** Celery's columns: the id gives way first, worker and task share what is left. */
function rowFormat(width: number): (row: Row) => string {
  const display = Math.max(0, width - 2 * left);
  const details = display - 1 - stateWidth - 1 - timeWidth;
  const uuid = Math.max(4, Math.min(uuidWidth, details - 1 - leastTask - 1 - leastWorker));
  const rest = details - uuid - 1;
  const task = Math.max(4, Math.ceil(rest / 2));
  const worker = Math.max(4, rest - task - 1);
  return (row) =>
    [
      pad(row.uuid, uuid),
      pad(row.worker, worker),
      pad(abbreviateTask(row.task, task), task),
      pad(row.time, timeWidth),
      pad(row.state, stateWidth),
    ].join(" ");
}

function taskRow(task: TaskView, view: View, row: (row: Row) => string, y: number, now: Date): Piece[] {
  const isSelected = task.uuid === view.selected;
  const at = task.timestamp === null ? now : new Date(task.timestamp * 1000);
  const text = row({
    uuid: plain(task.uuid),
    worker: plain(task.worker?.hostname ?? "*NONE*"),
    task: plain(task.name ?? ""),
    time: Number.isNaN(at.getTime()) ? "" : at.toISOString().slice(11, 19),
    state: plain(task.state),
  });
  const head = text.slice(0, -stateWidth);
  const color = stateColor(task.state);
  const style: Style = isSelected ? { inverse: true } : {};
  return [
    { x: left, y, text: head, style },
    { x: left + columnsOf(head), y, text: text.slice(-stateWidth), style: color ? { ...style, color } : style },
  ];
}

function stateColor(state: string): NonNullable<Style["color"]> | undefined {
  if (state === "SUCCESS") return "green";
  if (state === "REVOKED") return "magenta";
  if (state === "STARTED") return "yellow";
  return EXCEPTION_STATES.has(state) ? "red" : undefined;
}

function selectedLine(state: State, { selected }: View, y: number, columns: number): Piece[] {
  if (selected === null) return [{ x: left, y, text: "No task selected", style: {} }];
  const task = state.tasks.get(selected);
  if (task === undefined) return labelled("Selected: ", "Missing extended info", y, {});
  const info: Record<string, unknown> = { ...task.info() };
  if (task.runtime !== null) info.runtime = task.runtime.toFixed(2);
  if (task.result !== null) info.result = abbreviate(task.result, 16);
  const text = Object.entries(info)
    .map(([key, value]) => `${wireName(key)}=${value}`)
    .join(" ");
  return labelled("Selected: ", abbreviate(plain(text), columns - left - "Selected: ".length - 2), y, {});
}

function workersLine(state: State, y: number, now: Date): Piece[] {
  const alive = state.aliveWorkers(now).map(({ hostname }) => plain(hostname));
  if (alive.length === 0) return [{ x: left, y, text: "No workers discovered.", style: {} }];
  return labelled("Workers online: ", alive.sort().join(", "), y, {});
}

function labelled(label: string, text: string, y: number, style: Style): Piece[] {
  return [
    { x: left, y, text: label, style: { bold: true } },
    { x: left + label.length, y, text, style },
  ];
}

function dialog(
  { title, lines }: Dialog,
  { state, view: { scroll } }: Scene,
  { width: columns, height }: Size,
): Piece[] {
  const wrapped: Piece[] = [];
  for (const { label = "", text, tone } of lines(state)) {
    const style: Style = tone === undefined ? {} : { color: tone === "good" ? "green" : "red" };
    for (const [index, line] of wrap(text, Math.max(1, columns - left - label.length - 1)).entries()) {
      const y = wrapped.length;
      if (index === 0 && label !== "") wrapped.push({ x: left, y, text: label, style: { bold: true } });
      wrapped.push({ x: left + label.length, y, text: line, style });
    }
  }
  const rows = rowsOf(wrapped);
  const room = Math.max(1, height - 5);
  const first = Math.min(scroll, Math.max(0, rows.length - room));
  const shown = rows
    .slice(first, first + room)
    .flatMap((row, index) => row.map((piece) => ({ ...piece, y: 3 + index })));
  const more = rows.length > room ? ` (${first + 1}-${Math.min(rows.length, first + room)} of ${rows.length})` : "";
  return [
    { x: left, y: 1, text: plain(title), style: { bold: true, underline: true } },
    ...shown,
    { x: 0, y: height - 1, text: `Press any key to continue...${more}`, style: { bold: true } },
  ];
}

/** A label and the first line of its text stand in one row. */
function rowsOf(pieces: readonly Piece[]): Piece[][] {
  const rows: Piece[][] = [];
  let labelled = false;
  for (const piece of pieces) {
    if (labelled) rows.at(-1)?.push(piece);
    else rows.push([piece]);
    labelled = piece.style.bold === true;
  }
  return rows;
}
