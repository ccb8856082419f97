import { setTimeout as sleep } from "node:timers/promises";
import { app } from "./app.ts";

export const add = app.task("quickstart.add", (x: number, y: number) => x + y);

export const mul = app.task("quickstart.mul", (x: number, y: number) => x * y);

export const xsum = app.task("quickstart.xsum", (numbers: number[]) => numbers.reduce((sum, n) => sum + n, 0));

/** Takes its time and says how far it is. */
export const report = app.task("quickstart.report", { bind: true }, async (self, pages: number) => {
  for (let page = 1; page <= pages; page += 1) {
    await self.updateState("PROGRESS", { current: page, total: pages });
    await sleep(300, undefined, { signal: self.signal });
  }
  return `${pages} pages`;
});

export class CardDeclined extends Error {
  override readonly name = "CardDeclined";
}

/** Fails, and says so to whoever asked. */
export const charge = app.task("quickstart.charge", (amount: number): string => {
  throw new CardDeclined(`no funds for ${amount}`);
});

/** Fails twice, then works: each try is a new message, and waits in the broker. */
export const flaky = app.task("quickstart.flaky", { bind: true, maxRetries: 5 }, (self) => {
  const tries = self.request.retries + 1;
  if (tries < 3) throw self.retry({ countdown: 0.5, cause: new Error("the other side is busy") });
  return `worked on try ${tries}`;
});
