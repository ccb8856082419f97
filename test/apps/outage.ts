import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Tq } from "tq";

/** Tasks for brokers that come and go: each leaves a line when it begins and one when it ends. */
export const app = new Tq("outage", {
  taskDefaultQueue: process.env.OUTAGE_QUEUE ?? "celery",
  ...(JSON.parse(process.env.OUTAGE_SETTINGS ?? "{}") as object),
});

async function work(file: string, name: string, seconds = 0): Promise<string> {
  appendFileSync(file, `begin ${name}\n`);
  if (seconds > 0) await sleep(seconds * 1000);
  appendFileSync(file, `end ${name}\n`);
  return name;
}

export const early = app.task("outage.early", work);
export const late = app.task("outage.late", { acksLate: true }, work);

/** Calls another task, with the retry policy it is given, and says what came of it. */
export const forward = app.task(
  "outage.forward",
  async (file: string, name: string, seconds: number, retryPolicy: object | null) => {
    await work(file, `forward ${name}`, seconds);
    try {
      await early.applyAsync([file, name], retryPolicy === null ? { retry: false } : { retryPolicy });
      return "sent";
    } catch (error) {
      return `${(error as Error).name}: ${(error as Error).message}`;
    }
  },
);
