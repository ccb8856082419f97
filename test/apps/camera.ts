import { appendFileSync } from "node:fs";
import { Polaroid, type State } from "tq";

/** Writes what it sees into the file CAMERA_FILE, a line for each picture. */
export class Camera extends Polaroid {
  override clearAfter = true;

  override onShutter(state: State): void {
    const tasks = state.tasksByTime().map(({ name, state: now }) => `${name} ${now}`);
    appendFileSync(process.env.CAMERA_FILE ?? "", `${JSON.stringify({ tasks, events: state.eventCount })}\n`);
  }
}
