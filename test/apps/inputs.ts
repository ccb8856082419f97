import { type TaskHandle, Tq } from "tq";

/** Tasks that show what became of the messages they were called by. Broker and backend come from the environment. */
export const app = new Tq("inputs", { taskDefaultQueue: process.env.ACTS_QUEUE ?? "celery" });

/** What every object would have inherited from a careless copy of a message. */
export function pollution(): string[] {
  const inherited: string[] = [];
  for (const key in {}) inherited.push(key);
  return [...inherited, ...Object.getOwnPropertyNames(Object.prototype).filter((key) => !born.has(key))];
}
const born: ReadonlySet<string> = new Set(Object.getOwnPropertyNames(Object.prototype));

app.task("acts.add", (x: number, y: number) => x + y);
app.task("acts.fail", () => {
  throw new RangeError("as it should");
});
app.task("acts.pid", () => process.pid);
app.task("acts.pollution", pollution);

/** What it was given, key by key. */
app.task("acts.spread", { bind: true }, (self, value: object, { ...more }: object) => ({
  value,
  more,
  keys: Object.keys(value),
  keywords: Object.keys(more),
  headers: Object.keys(self.request.headers),
  polluted: pollution(),
}));

/** The size of what came in, for messages too large to send back. */
app.task("acts.measure", { bind: true }, (self, text: string) => ({
  text: text.length,
  headers: JSON.stringify(self.request.headers).length,
}));

// The tasks of the captured experiments with a Python worker.
app.task("wt.add", (x: number, y: number) => x + y);
app.task("wt.echo", (...values: unknown[]) => values);
export const retryMe: TaskHandle<[number, number?], number> = app.task(
  "wt.retry_me",
  { bind: true },
  (self, times: number, countdown = 0) => {
    if (self.request.retries < times) throw self.retry({ countdown });
    return self.request.retries;
  },
);
