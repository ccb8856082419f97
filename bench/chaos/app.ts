import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Tq } from "tq";

/** The task of the ordeal: a moment of work, then one line in the ledger. Broker and queue come from the environment. */
export const app = new Tq("chaos", {
  taskDefaultQueue: process.env.CHAOS_QUEUE ?? "tq-chaos",
  resultBackend: "disabled://",
  brokerHeartbeat: 3,
  workerProcAliveTimeout: 20,
  // A task may have bad luck with several children in a row: that is no fault of its own here.
  workerMaxCrashes: 1_000,
});

const ledger = process.env.CHAOS_LEDGER ?? "";

app.task(
  "chaos.work",
  { acksLate: true, rejectOnWorkerLost: true, ignoreResult: true, bind: true },
  async (self, id: number, milliseconds: number) => {
    await sleep(milliseconds);
    // One write with O_APPEND: lines of many processes never mix.
    appendFileSync(ledger, `${id} ${self.request.hostname} ${process.pid} ${Date.now()}\n`, { mode: 0o600 });
  },
);
