import type { Command } from "commander";
import type { Tq } from "../app/app.ts";
import type { DetachedEnd } from "../system/daemonize.ts";
import { type OptionSpecs, type OptionValues, readOptions } from "./options.ts";
import type { Output } from "./output.ts";

/** The options of `tq` itself; they may stand before or after the command. */
export const globalOptions = {
  app: {
    flags: ["-A", "--app"],
    metavar: "MODULE",
    env: ["TQ_APP", "CELERY_APP"],
    help: "The app: a module, module:attribute, or a path.",
  },
  broker: { flags: ["-b", "--broker"], metavar: "URL", env: ["TQ_BROKER", "BROKER_URL"], help: "URL of the broker." },
  resultBackend: {
    flags: ["--result-backend"],
    metavar: "URL",
    env: ["TQ_RESULT_BACKEND", "RESULT_BACKEND"],
    help: "URL of the result store.",
  },
  loader: { flags: ["--loader"], metavar: "NAME", help: "Accepted for Celery's sake; tq has one loader." },
  config: {
    flags: ["--config"],
    metavar: "MODULE",
    env: ["TQ_CONFIG_MODULE"],
    help: "Module of settings; default tq.config.* of the working directory.",
  },
  workdir: { flags: ["--workdir"], metavar: "PATH", help: "Folder to work in." },
  noColor: { flags: ["-C", "--no-color"], env: ["NO_COLOR"], help: "No colours." },
  quiet: { flags: ["-q", "--quiet"], help: "Less output." },
  skipChecks: { flags: ["--skip-checks"], help: "Accepted for Celery's sake; there are no checks to skip." },
  // `tq result` takes the flag, and only the flag, for the traceback of the task; see TQ_TRACEBACK in main.ts.
  traceback: { flags: ["--traceback"], env: null, help: "Show where an error comes from." },
} as const satisfies OptionSpecs;

export type GlobalValues = OptionValues<typeof globalOptions>;

/** What a command works with. */
export interface Session {
  readonly env: NodeJS.ProcessEnv;
  readonly output: Output;
  readonly globals: GlobalValues;
  /** Where to tell how it is doing, for a process that was started to run in the background. */
  readonly detached?: DetachedEnd | undefined;
}

/** An app, opened by the command line. */
export interface OpenApp {
  readonly app: Tq;
  /** What other processes have to give `loadApp` to get the same app. */
  readonly spec: string;
  /** Settings from the command line, which those processes have to set as well. */
  readonly overrides: Readonly<Record<string, unknown>>;
  /** What loading it took. */
  readonly loadSeconds: number;
}

/** Reads a command's own options. */
export function optionsFor<Specs extends OptionSpecs>(
  command: Command,
  specs: Specs,
  session: Session,
): OptionValues<Specs> {
  return readOptions(command, specs, session.env);
}

/**
 * The app of `-A`; without `-A` an app with the settings of `tq.config.*`. Settings of the
 * command line (`-b`, `--result-backend` and `flags`) are stronger than its own. The caller
 * closes it.
 */
export async function openApp(session: Session, flags: Readonly<Record<string, unknown>> = {}): Promise<OpenApp> {
  const { globals } = session;
  const { defaultAppSpec, loadApp } = await import("../app/load.ts");
  const spec = globals.app ?? defaultAppSpec;
  const overrides = {
    ...(globals.broker === undefined ? {} : { brokerUrl: globals.broker }),
    ...(globals.resultBackend === undefined ? {} : { resultBackend: globals.resultBackend }),
    ...flags,
  };
  const begun = performance.now();
  const app = (await loadApp(spec, { cwd: process.cwd() })) as Tq;
  const loadSeconds = (performance.now() - begun) / 1000;
  app.conf.setFlags(overrides);
  await app.signals.send("userPreloadOptions", { options: { ...globals } });
  return { app, spec, overrides, loadSeconds };
}

/** Opens the app, does the work and closes it, whatever happens. */
export async function withApp<Result>(session: Session, work: (app: Tq) => Promise<Result>): Promise<Result> {
  const { app } = await openApp(session);
  try {
    return await work(app);
  } finally {
    await app.close();
  }
}
