import { setTimeout as sleep } from "node:timers/promises";
import { Tq } from "tq";

/** Tasks whose followers go to a queue nobody consumes, so that a test can count what was handed over. */
export const app = new Tq("handing", {
  broker: process.env.TQ_BROKER_URL ?? "memory://",
  backend: process.env.TQ_RESULT_BACKEND ?? "cache+memory://",
});

export const step = app.task("handing.step", { acksLate: true }, async (n: number) => {
  await sleep(Math.random() * 6);
  return n;
});

export const again = app.task(
  "handing.again",
  { acksLate: true, bind: true, maxRetries: 3 },
  async (self, n: number) => {
    await sleep(Math.random() * 4);
    if (self.request.retries < 2) throw self.retry({ countdown: 0 });
    return n;
  },
);

export const fails = app.task("handing.fails", { acksLate: true }, async (n: number) => {
  await sleep(Math.random() * 4);
  throw new Error(`no ${n}`);
});

export const next = app.task("handing.next", (value: unknown) => value);
