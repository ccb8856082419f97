import { pythonRepr } from "../../util/repr.ts";
import { nok, ok, type Panel, ValueError, type WorkerCommand } from "./panel.ts";

/** Children a worker may be made to have: what a mistyped number must not exceed. */
const mostChildren = 1_000;

const autoscaled = (command: string): unknown =>
  nok(`${command} is not supported with autoscale. Adjust autoscale range instead.`);

/** Commands that change the pool. */
export const poolCommands: readonly WorkerCommand[] = [
  {
    name: "pool_grow",
    type: "control",
    args: [{ name: "n", type: "int" }],
    signature: "[N=1]",
    help: "Grow pool by n processes/threads.",
    async run(panel, { n = 1 }) {
      if (panel.autoscaler !== null) return autoscaled("pool_grow");
      await resize(panel, readCount(n, "n"));
      return ok("pool will grow");
    },
  },
  {
    name: "pool_shrink",
    type: "control",
    args: [{ name: "n", type: "int" }],
    signature: "[N=1]",
    help: "Shrink pool by n processes/threads.",
    async run(panel, { n = 1 }) {
      if (panel.autoscaler !== null) return autoscaled("pool_shrink");
      await resize(panel, -readCount(n, "n"));
      return ok("pool will shrink");
    },
  },
  {
    name: "pool_restart",
    type: "control",
    help: "Restart execution pool.",
    async run({ app, pool, logger }) {
      if (!app.conf.settings.workerPoolRestarts) throw new ValueError("Pool restarts not enabled");
      // Children import everything anew: there are no modules to name.
      pool.restart().catch((error: unknown) => logger.error({ err: error }, "the pool could not be restarted"));
      return ok("reload started");
    },
  },
  {
    name: "autoscale",
    type: "control",
    args: [
      { name: "max", type: "int" },
      { name: "min", type: "int" },
    ],
    signature: "[max [min]]",
    help: "Modify autoscale settings.",
    run({ autoscaler }, { max = null, min = null }) {
      if (autoscaler === null) throw new ValueError("Autoscale not enabled");
      const now = autoscaler.update(max === null ? null : readCount(max, "max"), min === null ? null : readLeast(min));
      return ok(`autoscale now max=${now.max} min=${now.min}`);
    },
  },
];

/** The reply does not wait for children to come and go; what is fetched ahead follows their number. */
async function resize({ pool, onResized, logger }: Panel, by: number): Promise<void> {
  const size = pool.width + by;
  if (size < 1) throw new ValueError(`Can't shrink pool. It has ${pool.width}, and one has to stay`);
  if (size > mostChildren) throw new ValueError(`Can't grow pool beyond ${mostChildren}`);
  const resized = pool.resize(size);
  resized.then(onResized, (error: unknown) => logger.error({ err: error }, "the pool could not be resized"));
  // A pool that cannot change says so at once.
  await Promise.race([resized, Promise.resolve()]);
  onResized();
}

function readCount(given: unknown, name: string): number {
  if (typeof given === "number" && Number.isSafeInteger(given) && given >= 1 && given <= mostChildren) return given;
  throw new ValueError(
    `${name} must be a whole number from 1 to ${mostChildren}, got: ${pythonRepr(given, { maxLength: 100 })}`,
  );
}

const readLeast = (given: unknown): number => (given === 0 ? 0 : readCount(given, "min"));
