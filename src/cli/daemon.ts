import { hostname as hostOfThisMachine } from "node:os";
import type { Settings } from "../config/settings.ts";
import { ImproperlyConfigured } from "../errors.ts";
import { expandNodename, nodename } from "../protocol/nodename.ts";
import { detach, type Report } from "../system/daemonize.ts";
import { EX_FAILURE, EX_OK } from "../system/exit-codes.ts";
import { becomeIdentity, findIdentity, handOverFolders } from "../system/identity.ts";
import { type Supervision, takeSupervision } from "../system/supervision.ts";
import type { OptionSpecs, OptionValues } from "./options.ts";
import { describeFailure } from "./output.ts";
import { type OpenApp, openApp, type Session } from "./session.ts";

const group = "Daemonization Options";

/** The options of every command that may run in the background (inventory F23, J25 to J28). */
export const daemonOptions = {
  logfile: { flags: ["-f", "--logfile"], metavar: "TEXT", group, help: "Log destination; defaults to stderr" },
  pidfile: { flags: ["--pidfile"], metavar: "TEXT", group, help: "PID file path; defaults to no PID file" },
  uid: { flags: ["--uid"], metavar: "TEXT", group, help: "Drops privileges to this user ID" },
  gid: { flags: ["--gid"], metavar: "TEXT", group, help: "Drops privileges to this group ID" },
  umask: { flags: ["--umask"], metavar: "TEXT", group, help: "Create files and directories with this umask" },
  executable: { flags: ["--executable"], metavar: "TEXT", group, help: "Override path to the Node executable" },
} as const satisfies OptionSpecs;

export type DaemonValues = OptionValues<typeof daemonOptions>;

/** A daemon's own settings, wherever they come from; templates of file names are not filled in yet. */
export interface DaemonSettings {
  readonly logfile: string | null;
  readonly pidfile: string | null;
  readonly uid: string | number | null;
  readonly gid: string | number | null;
  readonly umask: string | number | null;
  readonly executable: string | null;
}

/** What a daemon is started with. */
export interface DaemonStart {
  readonly session: Session;
  /** Which settings the flags fall back on: `workerLogfile`, `beatLogfile` …; `events` says itself when it is up. */
  readonly command: "worker" | "beat" | "events";
  readonly values: DaemonValues & { readonly detach?: boolean };
  /** Its pidfile when nothing names one and it goes to the background. */
  readonly detachedPidfile?: string;
  /** `-n`; file names are made with it. */
  readonly hostname?: string | undefined;
  /** Settings of the command line. */
  readonly flags?: Readonly<Record<string, unknown>>;
  /** Files it will write beside log and pidfile. */
  readonly files?: readonly string[];
}

/**
 * Runs a daemon as its flags say: as the user, with the umask, in the background. What is given by
 * flags is done before anything of the app is loaded; what only its settings say, right after. In the
 * background it is this very command once more; this one waits until it is up, or says why it is not.
 */
export async function runDaemon(
  start: DaemonStart,
  work: (open: OpenApp, settings: DaemonSettings, supervision: Supervision) => Promise<number>,
): Promise<number> {
  const { session, values } = start;
  const { detached } = session;
  // Taken before any of the project's code runs: what that starts is not who we are waited for.
  const supervision = takeSupervision(session.env);
  try {
    settle(start, fromFlags(values));
    if (values.detach && !detached) {
      const settings = knowsAll(values) ? fromFlags(values) : await readSettings(start);
      settle(start, settings);
      return await goToBackground(start, settings);
    }
    const open = await openApp(session, start.flags);
    const settings = withSettings(start, open);
    settle(start, settings);
    const { signals } = open.app;
    if (start.command === "worker") {
      signals.connect("workerInit", () => detached?.running());
      signals.connect("workerReady", () => detached?.ready());
    } else if (start.command === "beat") {
      signals.connect("beatInit", () => detached?.ready());
    }
    return await work(open, settings, supervision);
  } catch (error) {
    const { text, exitCode } = describeFailure(error);
    detached?.failed(text, exitCode);
    supervision.failed(text);
    throw error;
  }
}

/** Umask and user; done twice, the second time changes nothing. */
function settle(start: DaemonStart, settings: DaemonSettings): void {
  if (settings.umask !== null) process.umask(parseUmask(settings.umask));
  const identity = findIdentity(settings.uid, settings.gid);
  if (!identity) return;
  const files = [settings.logfile, settings.pidfile, ...(start.files ?? [])];
  const named = files.flatMap((file) => (file === null ? [] : [expand(start, file)]));
  if (process.geteuid?.() === 0) handOverFolders(named, identity);
  becomeIdentity(identity);
}

const expand = (start: DaemonStart, template: string): string =>
  expandNodename(template, { nodename: nodename(start.hostname, hostOfThisMachine()) });

/** Whoever says where to log and what to run needs no app to be loaded for it: so `tq multi` starts nodes. */
const knowsAll = (values: DaemonValues): boolean => values.logfile !== undefined && values.executable !== undefined;

function fromFlags(values: DaemonValues): DaemonSettings {
  const { logfile = null, pidfile = null, uid = null, gid = null, umask = null, executable = null } = values;
  return { logfile, pidfile, uid, gid, umask, executable };
}

async function readSettings(start: DaemonStart): Promise<DaemonSettings> {
  const open = await openApp(start.session, start.flags);
  try {
    return withSettings(start, open);
  } finally {
    await open.app.close();
  }
}

/** What the settings say where the flags do not. */
const settingsOf: Readonly<Record<DaemonStart["command"], (settings: Settings) => DaemonSettings>> = {
  worker: (settings) => ({
    logfile: settings.workerLogfile,
    pidfile: settings.workerPidfile,
    uid: settings.workerUid,
    gid: settings.workerGid,
    umask: settings.workerUmask,
    executable: settings.workerExecutable,
  }),
  beat: (settings) => ({
    logfile: settings.beatLogfile,
    pidfile: settings.beatPidfile,
    uid: settings.beatUid,
    gid: settings.beatGid,
    umask: settings.beatUmask,
    executable: settings.beatExecutable,
  }),
  // A camera has none of its own.
  events: () => ({ logfile: null, pidfile: null, uid: null, gid: null, umask: null, executable: null }),
};

function withSettings(start: DaemonStart, { app }: OpenApp): DaemonSettings {
  const flags = fromFlags(start.values);
  const defaults = settingsOf[start.command](app.conf.settings);
  const background = start.values.detach === true ? (start.detachedPidfile ?? null) : null;
  return {
    logfile: flags.logfile ?? defaults.logfile,
    pidfile: flags.pidfile ?? defaults.pidfile ?? background,
    uid: flags.uid ?? defaults.uid,
    gid: flags.gid ?? defaults.gid,
    umask: flags.umask ?? defaults.umask,
    executable: flags.executable ?? defaults.executable,
  };
}

/** Seconds a daemon in the background may take to be ready before its starter stops watching. */
const readyPatience = 10;

/** Resolves to 0 once it works, or is set up and still waits for its broker; to its own exit code when it cannot start. */
async function goToBackground(start: DaemonStart, settings: DaemonSettings): Promise<number> {
  const { output, env } = start.session;
  const log = settings.logfile === null ? undefined : expand(start, settings.logfile);
  if (log === undefined) output.notice("Its log goes nowhere: name a file with --logfile to have one.");
  // The process id of what is not started yet cannot be part of a name.
  const file = log?.includes("%P") || log === "stderr" || log === "stdout" ? undefined : log;
  const child = detach({
    env,
    ...(settings.executable === null ? {} : { executable: settings.executable }),
    ...(file === undefined ? {} : { output: file }),
  });
  const place = log === undefined ? "" : ` Its log is ${log}.`;
  let isRunning = false;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<"late">((resolve) => {
    timer = setTimeout(resolve, readyPatience * 1_000, "late");
  });
  const reports = child.reports[Symbol.asyncIterator]();
  try {
    for (;;) {
      // Nothing but the app's own modules can take long before it runs: that is waited for without a limit.
      const next = reports.next();
      const result: IteratorResult<Report> | "late" = isRunning ? await Promise.race([next, late]) : await next;
      if (result === "late") {
        output.notice(`It runs in the background (pid ${child.pid}) and is not ready yet.${place}`);
        return EX_OK;
      }
      if (result.done) return EX_FAILURE;
      const report = result.value;
      switch (report.kind) {
        case "running":
          isRunning = true;
          break;
        case "ready":
          return EX_OK;
        case "failed":
          output.notice(`${output.red("Error:")} ${report.message}`);
          return report.exitCode;
        case "ended": {
          const how = report.signal === null ? `with code ${report.code}` : `by signal ${report.signal}`;
          output.notice(`${output.red("Error:")} It ended ${how} before it was ready.${place}`);
          return report.code || EX_FAILURE;
        }
      }
    }
  } finally {
    clearTimeout(timer);
    child.release();
  }
}

/** Octal, as everywhere: `022`, `22` and `0o22` are the same. A number is the mask itself. */
export function parseUmask(given: string | number): number {
  if (typeof given === "number") return given;
  const digits = /^(?:0o)?([0-7]{1,4})$/.exec(given)?.[1];
  if (digits === undefined)
    throw new ImproperlyConfigured(`--umask must be an octal number such as 022, got: ${given}`);
  return Number.parseInt(digits, 8);
}
