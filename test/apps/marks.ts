import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Tq } from "tq";

/** A task that leaves one line for each time it is run. */
export const app = new Tq("marks");

export const mark = app.task("marks.mark", async (file: string, number: number, seconds: number) => {
  await sleep(seconds * 1000);
  appendFileSync(file, `${number}\n`);
  return number;
});
