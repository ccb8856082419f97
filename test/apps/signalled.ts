import { appendFileSync } from "node:fs";
import { type SignalMap, Tq } from "tq";

/** An app that writes down every signal it is told: its name, whose it is, and in which process. */
export const app = new Tq("signalled");

const file = process.env.SIGNALS_FILE ?? "/dev/null";

const signals: Readonly<Record<Exclude<keyof SignalMap, "setupLogging">, true>> = {
  beforeTaskPublish: true,
  afterTaskPublish: true,
  taskPrerun: true,
  taskPostrun: true,
  taskSuccess: true,
  taskFailure: true,
  taskRetry: true,
  taskInternalError: true,
  importModules: true,
  afterConfigure: true,
  afterFinalize: true,
  taskReceived: true,
  taskRevoked: true,
  taskUnknown: true,
  taskRejected: true,
  celerydInit: true,
  celerydAfterSetup: true,
  afterSetupLogger: true,
  afterSetupTaskLogger: true,
  workerInit: true,
  workerReady: true,
  heartbeatSent: true,
  workerShuttingDown: true,
  workerShutdown: true,
  userPreloadOptions: true,
  beatInit: true,
  beatEmbeddedInit: true,
  workerBeforeCreateProcess: true,
  workerProcessInit: true,
  workerProcessShutdown: true,
};

export const signalNames = Object.keys(signals) as (keyof typeof signals)[];

for (const name of signalNames) {
  app.signals.connect(name, (details) => {
    const { task = null, error, state } = details as Record<string, unknown>;
    const said = error instanceof Error ? error.message : (state ?? null);
    appendFileSync(file, `${JSON.stringify({ name, task, said, pid: process.pid })}\n`);
  });
}

export const add = app.task("signalled.add", (x: number, y: number) => x + y);
export const fails = app.task("signalled.fails", (): never => {
  throw new Error("no");
});
export const retries = app.task("signalled.retries", { bind: true }, (self) => {
  if (self.request.retries === 0) throw self.retry({ countdown: 0 });
});
export const dies = app.task("signalled.dies", () => process.exit(3));
/** A handler's own mistake is not the task's. */
export const careless = app.task(
  "signalled.careless",
  {
    onSuccess: () => {
      throw new Error("careless handler");
    },
  },
  () => 1,
);
