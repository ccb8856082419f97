import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Tq } from "tq";

/** Tasks whose followers go to a queue of their own, so that a test can count what was handed over. */
export const app = new Tq("handing", {
  broker: process.env.TQ_BROKER_URL ?? "memory://",
  backend: process.env.TQ_RESULT_BACKEND ?? "cache+memory://",
});

const acksLate = !process.env.TQ_EARLY;

/** Writes down that a task runs, where a test wants to know. */
function tell(id: string): void {
  if (process.env.TQ_TELL) appendFileSync(process.env.TQ_TELL, `${id}\n`, { mode: 0o600 });
}

export const step = app.task("handing.step", { acksLate, bind: true }, async (self, n: number) => {
  tell(self.request.id);
  await sleep(Math.random() * 6);
  return n;
});

export const again = app.task("handing.again", { acksLate, bind: true, maxRetries: 3 }, async (self, n: number) => {
  tell(self.request.id);
  await sleep(Math.random() * 4);
  if (self.request.retries < Number(process.env.TQ_RETRIES ?? 2)) throw self.retry({ countdown: 0 });
  return n;
});

export const fails = app.task("handing.fails", { acksLate, bind: true }, async (self, n: number) => {
  tell(self.request.id);
  await sleep(Math.random() * 4);
  throw new Error(`no ${n}`);
});

export const next = app.task("handing.next", { acksLate, bind: true }, (self, value: unknown = null) => {
  tell(self.request.id);
  return value;
});
