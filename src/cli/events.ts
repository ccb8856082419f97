import type { Tq } from "../app/app.ts";
import { ModuleLoader } from "../app/module-loader.ts";
import { ImproperlyConfigured } from "../errors.ts";
import { Dumper } from "../events/dumper.ts";
import type { Polaroid, PolaroidOptions } from "../events/snapshot.ts";
import { type Logger, logLevelNames } from "../log.ts";
import { EX_OK } from "../system/exit-codes.ts";
import { acquirePidfile, type Pidfile } from "../system/pidfile.ts";
import { onSignal } from "../system/posix-signals.ts";
import { rateOf } from "../util/rate.ts";
import type { CommandModule } from "./command.ts";
import { type DaemonSettings, daemonOptions, runDaemon } from "./daemon.ts";
import { addOptions, limit, type OptionSpecs, type OptionValues, oneOf } from "./options.ts";
import type { Output } from "./output.ts";
import { optionsFor, type Session, withApp } from "./session.ts";
import { watchEvents } from "./watch-events.ts";

const options = {
  dump: { flags: ["-d", "--dump"], group: "Dumper", help: "Print each event as it comes." },
  camera: {
    flags: ["-c", "--camera"],
    metavar: "MODULE",
    group: "Snapshot",
    help: "Take snapshots with this class, a Polaroid: module:Class or a path.",
  },
  frequency: {
    flags: ["-F", "--frequency", "--freq"],
    metavar: "FLOAT",
    group: "Snapshot",
    help: "Seconds between two snapshots; default 1.",
    parse: limit,
  },
  maxrate: {
    flags: ["-r", "--maxrate"],
    metavar: "TEXT",
    group: "Snapshot",
    help: "Most snapshots, as 10/m; default no bound.",
  },
  loglevel: {
    flags: ["-l", "--loglevel"],
    metavar: `[${logLevelNames.join("|")}]`,
    group: "Snapshot",
    help: "Logging level.",
    parse: oneOf(logLevelNames),
  },
  detach: {
    flags: ["--detach"],
    hiddenFlags: ["-D"],
    group: "Snapshot",
    help: "Detach and take snapshots in the background as a daemon.",
  },
  ...daemonOptions,
} as const satisfies OptionSpecs;

type Values = OptionValues<typeof options>;
type Snapshots = Omit<Values, keyof DaemonSettings> & DaemonSettings;

/** `tq events`: watches what workers tell. */
export const eventsCommand: CommandModule = {
  description: `Event-stream utilities.

Without options a full-screen monitor; with --dump one line for each event;
with --camera snapshots of the cluster at intervals.

Examples
--------

$ tq -A proj events
$ tq -A proj events --dump
$ tq -A proj events --camera=./camera.ts:Camera --frequency=2.0 --maxrate=10/m
$ tq -A proj events --camera=./camera.ts:Camera --detach --pidfile=/var/run/tq/camera.pid`,
  define(command) {
    addOptions(command, options);
  },
  async run(command, session) {
    const values = optionsFor(command, options, session);
    if (values.camera !== undefined && !values.dump) return await photograph(session, values);
    if (values.detach) {
      throw new ImproperlyConfigured("--detach is for snapshots: give a --camera, or leave it out to watch here");
    }
    return await withApp(session, async (app) => {
      await untilTold(async (stopping) => {
        if (values.dump) return await dump(app, session.output, stopping.signal);
        const { monitor } = await import("./monitor/monitor.ts");
        await monitor(app, stopping);
      });
      return EX_OK;
    });
  },
};

/** Until INT or TERM. */
async function untilTold(work: (stopping: AbortController) => Promise<void>): Promise<void> {
  const stopping = new AbortController();
  using _signals = onSignal(["SIGINT", "SIGTERM"], () => stopping.abort());
  await work(stopping);
}

/** Takes snapshots, as the user and in the background where it is told so. */
async function photograph(session: Session, values: Values): Promise<number> {
  return await runDaemon({ session, command: "events", values }, async ({ app }, settings) => {
    try {
      await untilTold(async ({ signal }) => {
        await takePictures(app, { ...values, ...settings }, session, signal);
      });
      return EX_OK;
    } finally {
      await app.close();
    }
  });
}

async function dump(app: Tq, output: Output, signal: AbortSignal): Promise<void> {
  const dumper = new Dumper();
  output.print("-> evdump: starting capture...");
  await watchEvents(app, (event) => output.print(dumper.line(event)), output.notice, signal);
}

async function takePictures(
  app: Tq,
  values: Snapshots,
  { output, detached }: Session,
  signal: AbortSignal,
): Promise<void> {
  const { camera: spec = "", frequency = 1, maxrate = null, loglevel = "WARNING", logfile } = values;
  const { createLogger } = await import("../log-writer.ts");
  const logger = createLogger({ level: loglevel, ...(logfile === null ? {} : { destination: logfile }) });
  let pidfile: Pidfile | undefined;
  try {
    if (values.pidfile !== null) pidfile = await acquirePidfile(values.pidfile);
    const state = app.events.state({
      onDrift: (node, drift) => logger.warn("Substantial drift from %s: %d seconds.", node, drift),
    });
    const camera = await loadCamera(spec, { state, freq: frequency, maxrate: checkedRate(maxrate), logger });
    output.print(`-> evcam: Taking snapshots with ${spec} (every ${frequency.toFixed(1)} secs.)`);
    camera.install();
    detached?.ready();
    try {
      await watchEvents(app, (event) => state.event(event), output.notice, signal);
    } finally {
      await camera.cancel();
    }
  } finally {
    pidfile?.release();
    logger.close();
  }
}

function checkedRate(rate: string | null): string | null {
  try {
    rateOf(rate);
    return rate;
  } catch (error) {
    throw new ImproperlyConfigured(`--maxrate: ${(error as Error).message}`);
  }
}

/** `module:Class`, or `module.Class` as in Celery; the class alone when the module exports only one thing. */
async function loadCamera(spec: string, given: PolaroidOptions & { readonly logger: Logger }): Promise<Polaroid> {
  const loader = new ModuleLoader({ cwd: process.cwd() });
  const colon = /^(.*[^:/\\]):([A-Za-z_$][\w$]*)$/s.exec(spec);
  const dot = /^([^/\\]*)\.([A-Z][\w$]*)$/s.exec(spec);
  const [, module = spec, name] = colon ?? dot ?? [];
  const exports = (await loader.importModule(module, process.cwd())) as Readonly<Record<string, unknown>>;
  const candidates = name === undefined ? Object.values(exports) : [exports[name]];
  const found = candidates.find((one) => typeof one === "function") as (new (options: unknown) => Polaroid) | undefined;
  const camera = found === undefined ? undefined : new found(given);
  if (camera === undefined || typeof camera.install !== "function" || typeof camera.onShutter !== "function") {
    throw new ImproperlyConfigured(
      `--camera ${spec} is no camera: export a class that extends Polaroid of tq and give it as module:Class`,
    );
  }
  return camera;
}
