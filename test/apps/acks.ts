import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Ignore, Reject, Tq } from "tq";

const { ACKS_QUEUE = "acks", ACKS_FILE = "" } = process.env;

/** One task for each end a message can come to. Each run leaves a line: its name, and whether it was delivered again. */
export const app = new Tq("acks", { taskDefaultQueue: ACKS_QUEUE, taskAcksLate: true, taskRejectOnWorkerLost: false });

function mark(name: string, again = false): void {
  appendFileSync(ACKS_FILE, `${name}${again ? " again" : ""}\n`);
}
const isAgain = (self: { readonly request: { readonly deliveryInfo?: { readonly redelivered?: boolean } | null } }) =>
  self.request.deliveryInfo?.redelivered === true;

app.task("acks.success", () => mark("success"));
app.task("acks.failure", () => {
  mark("failure");
  throw new Error("told to fail");
});
app.task("acks.deadFailure", { acksOnFailure: false }, () => {
  mark("deadFailure");
  throw new Error("told to fail");
});
app.task("acks.retry", { bind: true }, (self) => {
  mark(`retry ${self.request.retries}`);
  if (self.request.retries === 0) self.retry({ countdown: 0 });
});
app.task("acks.ignore", () => {
  mark("ignore");
  throw new Ignore();
});
app.task("acks.requeued", { bind: true }, (self) => {
  mark("requeued", isAgain(self));
  if (!isAgain(self)) throw new Reject("for another one", { requeue: true });
});
app.task("acks.rejected", () => {
  mark("rejected");
  throw new Reject("for nobody", { requeue: false });
});
app.task("acks.tooLong", { timeLimit: 0.3 }, async () => {
  mark("tooLong");
  await sleep(60_000);
});
app.task("acks.tooLongOnce", { timeLimit: 0.3, acksOnTimeout: false, bind: true }, async (self) => {
  mark("tooLongOnce", isAgain(self));
  if (!isAgain(self)) await sleep(60_000);
});
app.task("acks.lost", () => {
  mark("lost");
  process.exit(3);
});
app.task("acks.lostOnce", { rejectOnWorkerLost: true, bind: true }, (self) => {
  mark("lostOnce", isAgain(self));
  if (!isAgain(self)) process.exit(3);
});
app.task("acks.never", () => mark("never"));

/** Runs for as long as its first worker lives. */
app.task("acks.heldLate", { bind: true }, async (self) => {
  mark("heldLate", isAgain(self));
  if (!isAgain(self)) await sleep(600_000);
});
app.task("acks.heldEarly", { bind: true, acksLate: false }, async (self) => {
  mark("heldEarly", isAgain(self));
  if (!isAgain(self)) await sleep(600_000);
});
