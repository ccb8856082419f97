import { dirname, join, resolve } from "node:path";
import { AppLoadError } from "../errors.ts";
import { entry } from "../system/installation.ts";
import {
  displayPath,
  isFile,
  isPath,
  loadConfigModule,
  type ModuleExports,
  ModuleLoader,
  ModuleNotFound,
  moduleCandidates,
  moduleExtensions,
} from "./module-loader.ts";

/** The property, `true` on every `Tq`, by which an app is known whichever copy of tq made it. */
export const appBrand = Symbol.for("tq.app");

export interface LoadAppOptions {
  /** Where names are looked for: the working directory, or `--workdir`. */
  readonly cwd: string;
  /** `TQ_CONFIG_MODULE` is read from it; default the process's own. */
  readonly env?: NodeJS.ProcessEnv;
}

/** Names the app of whoever gives no `-A`; for `loadApp`, in this process and in its children. */
export const defaultAppSpec = entry("app/default-app");

/** An app and where it was found. */
export interface LoadedApp {
  readonly app: unknown;
  /** The module that exports it; relative modules of `include` are resolved from its folder. */
  readonly file: string;
  readonly attribute: string;
}

/**
 * The app that `-A spec` names; see `findApp`. The module that `--config` or `TQ_CONFIG_MODULE`
 * names gives it settings weaker than those it has itself.
 */
export async function loadApp(spec: string, options: LoadAppOptions): Promise<unknown> {
  const { app } = await findApp(spec, options);
  const config = (options.env ?? process.env).TQ_CONFIG_MODULE;
  if (config) {
    const isJson = config.endsWith(".json");
    const path = isJson ? resolve(options.cwd, config) : await new ModuleLoader(options).resolve(config, options.cwd);
    const settings = await loadConfigModule(path, options);
    (app as { readonly conf: { addDefaults(settings: object): void } }).conf.addDefaults(settings);
  }
  return app;
}

/**
 * Finds and loads the app that `-A spec` names.
 *
 * - `proj` is `proj.ts`, `proj.js`, `proj/index.*`, then `proj/app.*`, `proj/tq.*` and
 *   `proj/celery.*`, in `cwd`; `proj.sub` is `proj/sub`, or the attribute `sub` of `proj`.
 * - `proj.sub:attribute` takes that attribute and no other.
 * - A path (`./src/app.ts`, `src/app`) or a package works as well.
 *
 * The app is the export named `app`, `tq`, `celery` or `default`, else the only one there is.
 *
 * Rejects with `AppLoadError`, whose message is fit for a terminal: not found (what was
 * tried), threw while loading (message and place; the error is the `cause`), no app in it.
 * After celery.app.utils.find_app, which looks in a package itself before its submodules.
 */
export async function findApp(spec: string, options: LoadAppOptions): Promise<LoadedApp> {
  const loader = new ModuleLoader(options);
  const { module, attribute } = splitSpec(spec);
  if (module === "") throw unable(`${JSON.stringify(spec)} names no module; use -A module or -A module:attribute.`);
  try {
    return await search(loader, module, attribute, options.cwd);
  } catch (error) {
    if (!(error instanceof AppLoadError) || error.message.startsWith(unableText)) throw error;
    throw unable(error.message, error.cause, error.code);
  }
}

const unableText = "Unable to load the tq application.";

function unable(reason: string, cause?: unknown, code?: string): AppLoadError {
  return new AppLoadError(`${unableText}\n${reason}`, { cause, code: code ?? "TQ_APP_LOAD" });
}

/** `module:attribute`; a colon of a URL or a drive is part of the module. */
function splitSpec(spec: string): { readonly module: string; readonly attribute: string | undefined } {
  const match = /^(.*[^:/\\]):([A-Za-z_$][\w$.]*)$/s.exec(spec);
  return match ? { module: match[1] as string, attribute: match[2] as string } : { module: spec, attribute: undefined };
}

async function search(
  loader: ModuleLoader,
  module: string,
  attribute: string | undefined,
  cwd: string,
): Promise<LoadedApp> {
  const files = appFiles(module, cwd);
  const present = files.filter(isFile);
  if (present.length === 0) {
    const parent = /^(.+)\.([A-Za-z_$][\w$]*)$/.exec(module);
    if (attribute === undefined && parent && !isPath(module)) {
      const [, outer = "", inner = ""] = parent;
      if (appFiles(outer, cwd).some(isFile)) return search(loader, outer, inner, cwd);
    }
    present.push(await resolvePackage(loader, module, files, cwd));
  }

  const looked: { readonly file: string; readonly exports: ModuleExports }[] = [];
  for (const file of present) {
    const exports = await loader.importFile(file);
    const found = attribute === undefined ? await searchExports(exports, file, module) : await take(exports, attribute);
    if (found && attribute !== undefined && !isApp(found.app)) {
      const what =
        found.app === null ? "null" : Array.isArray(found.app) ? "an array" : `a value of type ${typeof found.app}`;
      throw unable(`${module}:${attribute} (${displayPath(file, cwd)}) is not an app made by new Tq(), but ${what}.`);
    }
    if (found) return { ...found, file };
    looked.push({ file, exports });
  }
  throw nothingFound(module, attribute, looked, cwd);
}

async function resolvePackage(
  loader: ModuleLoader,
  module: string,
  tried: readonly string[],
  cwd: string,
): Promise<string> {
  try {
    return await loader.resolve(module, cwd);
  } catch (error) {
    throw error instanceof ModuleNotFound ? new ModuleNotFound(module, tried, cwd) : error;
  }
}

/** Where an app may be, in the order of the search. */
function appFiles(module: string, cwd: string): string[] {
  const path = isPath(module) ? module : module.replaceAll(".", "/");
  const base = resolve(cwd, path);
  const direct = moduleCandidates(base);
  if (direct[0] === base) return [...direct];
  const inside = ["app", "tq", "celery"].flatMap((name) => moduleExtensions.map((ending) => join(base, name + ending)));
  // `.` and `proj/` are folders and nothing else.
  return [...(/(^|\/)\.{0,2}$/.test(path) ? direct.filter((file) => dirname(file) === base) : direct), ...inside];
}

/** The conventional names first, then whatever app there is, if there is only one. */
async function searchExports(
  exports: ModuleExports,
  file: string,
  module: string,
): Promise<{ readonly app: unknown; readonly attribute: string } | undefined> {
  for (const name of ["app", "tq", "celery", "default"]) {
    const found = await take(exports, name);
    if (found && isApp(found.app)) return found;
  }
  const apps = Object.entries(exports).filter(([, value]) => isApp(value));
  if (new Set(apps.map(([, app]) => app)).size > 1) {
    const names = apps.map(([name]) => name);
    throw unable(`${file} exports several apps: ${names.join(", ")}. Say which: -A ${module}:${names[0]}.`);
  }
  const [only] = apps;
  return only && { app: only[1], attribute: only[0] };
}

/** The value at a name, which may have dots; awaited, for an app made by an async function. */
async function take(
  exports: ModuleExports,
  attribute: string,
): Promise<{ readonly app: unknown; readonly attribute: string } | undefined> {
  let value: unknown = exports;
  for (const name of attribute.split(".")) {
    if (value === null || (typeof value !== "object" && typeof value !== "function") || !(name in value))
      return undefined;
    value = await (value as Record<string, unknown>)[name];
  }
  return { app: value, attribute };
}

function isApp(value: unknown): boolean {
  return typeof value === "object" && value !== null && (value as Record<symbol, unknown>)[appBrand] === true;
}

function nothingFound(
  module: string,
  attribute: string | undefined,
  looked: readonly { readonly file: string; readonly exports: ModuleExports }[],
  cwd: string,
): AppLoadError {
  const exported = looked.flatMap(({ exports }) => Object.keys(exports));
  const there = exported.length === 0 ? "It exports nothing." : `It exports: ${exported.join(", ")}.`;
  if (attribute !== undefined) return unable(`Module '${module}' has no attribute '${attribute}'. ${there}`);
  const files = looked.map(({ file }) => displayPath(file, cwd)).join(", ");
  return unable(
    `Module '${module}' (${files}) has no app. ${there} Write: export const app = new Tq("${module}", {…})`,
  );
}
