import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Tq } from "tq";

/** Tasks for workers that are told to stop: each leaves a line when it begins and one when it ends. */
export const app = new Tq("endings", {
  taskDefaultQueue: process.env.ENDINGS_QUEUE ?? "celery",
  ...(JSON.parse(process.env.ENDINGS_SETTINGS ?? "{}") as object),
});

async function work(file: string, name: string, seconds: number): Promise<string> {
  appendFileSync(file, `begin ${name}\n`);
  await sleep(seconds * 1000);
  appendFileSync(file, `end ${name}\n`);
  return name;
}

export const early = app.task("endings.early", work);
export const late = app.task("endings.late", { acksLate: true }, work);

/** Keeps its process busy without ever yielding. */
export const spin = app.task("endings.spin", { acksLate: true }, function spinning(file: string, seconds: number) {
  appendFileSync(file, "begin spin\n");
  const until = Date.now() + seconds * 1000;
  while (Date.now() < until) Math.sqrt(until);
  appendFileSync(file, "end spin\n");
});

if (process.env.ENDINGS_HANG) app.signals.connect("workerShutdown", () => new Promise(() => undefined));

app.signals.connect("workerShuttingDown", ({ sig, how, exitCode }) => {
  process.stdout.write(`shutting down: ${sig} ${how} ${exitCode}\n`);
});
