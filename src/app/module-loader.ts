import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readFileSync, statSync } from "node:fs";
import nodeModule, { createRequire } from "node:module";
import { homedir } from "node:os";
import { basename, dirname, extname, isAbsolute, join, relative, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Jiti } from "jiti";
import { AppLoadError } from "../errors.ts";
import { entry, isOurs } from "../system/installation.ts";

/** What a module file may end in, in the order in which a name without an ending is looked for. */
export const moduleExtensions = [".ts", ".mts", ".cts", ".tsx", ".js", ".mjs", ".cjs"] as const;

/** The exports of a module, by name; a default export is `default`. */
export type ModuleExports = Readonly<Record<string, unknown>>;

/** No file and no package of this name; the message says where it was looked for. */
export class ModuleNotFound extends AppLoadError {
  constructor(specifier: string, tried: readonly string[], cwd: string) {
    // One place for each name, not one for each ending.
    const places = new Set(tried.map((path) => displayPath(path, cwd).replace(/\.[cm]?[jt]sx?$/, ".*")));
    super(
      `The module ${specifier} was not found. ` +
        `Looked in ${cwd} for ${places.size === 0 ? "a package of that name" : [...places].join(", ")}.`,
      { code: "TQ_MODULE_NOT_FOUND" },
    );
  }
}

/**
 * Imports a module of `include`, `imports` or `-I`, whatever it is written in.
 *
 * `specifier` is `./tasks.ts` or any other path (relative to `fromDir`, ending optional), a
 * dotted name as in Celery (`proj.tasks` → `proj/tasks.ts`, in the working directory, then in
 * `fromDir`), or a package. Rejects with `AppLoadError`: not found, with what was tried, or the
 * message of what it threw while loading, whose error is kept as `cause`.
 *
 * Call it for one module after the other: modules that wait at their top level are evaluated
 * once only then.
 */
export async function importModule(specifier: string, fromDir: string): Promise<ModuleExports> {
  return new ModuleLoader({ cwd: process.cwd() }).importModule(specifier, fromDir);
}

/**
 * Loads users' modules as they are: JavaScript by Node itself, TypeScript by jiti, in one
 * graph: whoever imports a module gets the one instance of it, and `tq` is always the running
 * installation.
 *
 * TypeScript takes the same way on every Node. Node's own type stripping would be used by half
 * of a project and fail on the first `enum` of the other half, leaving two copies of its app.
 */
export class ModuleLoader {
  readonly #cwd: string;
  #jiti: Jiti | undefined;

  constructor(options: { readonly cwd: string }) {
    this.#cwd = options.cwd;
  }

  /** See `importModule`. */
  async importModule(specifier: string, fromDir: string): Promise<ModuleExports> {
    return this.importFile(await this.resolve(specifier, fromDir));
  }

  /** The file a specifier means; throws `ModuleNotFound`. */
  async resolve(specifier: string, fromDir: string): Promise<string> {
    const tried: string[] = [];
    for (const base of basesOf(specifier, fromDir, this.#cwd)) {
      for (const path of moduleCandidates(base)) {
        if (isFile(path)) return path;
        tried.push(path);
      }
    }
    const found = isLocal(specifier) ? undefined : await this.#resolvePackage(specifier, fromDir);
    if (found === undefined) throw new ModuleNotFound(specifier, tried, this.#cwd);
    return found;
  }

  /** Imports one file; what it throws becomes the `cause` of an `AppLoadError`. */
  async importFile(path: string): Promise<ModuleExports> {
    try {
      if (isTypeScript(path)) return await this.#importThroughJiti(path);
      try {
        return await withoutTypeStripping(async () => (await import(pathToFileURL(path).href)) as ModuleExports);
      } catch (error) {
        // JavaScript that imports TypeScript, or `./tasks.js` where `tasks.ts` is: found before anything ran.
        if (!needsTransform(error)) throw error;
        return await this.#importThroughJiti(path);
      }
    } catch (error) {
      throw new AppLoadError(
        `While loading ${displayPath(path, this.#cwd)}: ${describeLoadError(error, path, this.#cwd)}`,
        {
          cause: error,
          code: "TQ_MODULE_FAILED",
        },
      );
    }
  }

  async #importThroughJiti(path: string): Promise<ModuleExports> {
    const jiti = await this.#transformer();
    return await withoutTypeStripping(() => jiti.import<ModuleExports>(path));
  }

  async #transformer(): Promise<Jiti> {
    if (this.#jiti) return this.#jiti;
    const { createJiti } = await import("jiti");
    const options = {
      fsCache: privateCacheFolder() ?? false,
      sourceMaps: false,
      alias: ownEntries(),
    };
    const id = join(this.#cwd, "_tq.js");
    try {
      this.#jiti = createJiti(id, { ...options, tsconfigPaths: findUp("tsconfig.json", this.#cwd) ?? false });
    } catch {
      // A tsconfig that cannot be read concerns the compiler; modules load without its path aliases.
      this.#jiti = createJiti(id, options);
    }
    return this.#jiti;
  }

  async #resolvePackage(specifier: string, fromDir: string): Promise<string | undefined> {
    for (const folder of [fromDir, this.#cwd]) {
      try {
        const found = createRequire(join(folder, "_tq.js")).resolve(specifier);
        if (isAbsolute(found)) return found;
      } catch {
        // Not there, or exported for `import` only: that is asked next.
      }
    }
    const jiti = await this.#transformer();
    const url = jiti.esmResolve(specifier, { parentURL: pathToFileURL(join(fromDir, "_tq.js")), try: true });
    return url?.startsWith("file:") ? fileURLToPath(url) : undefined;
  }
}

/** Whether a specifier can be nothing but a file. */
function isLocal(specifier: string): boolean {
  return /^\.{0,2}(\/|$)|^file:/.test(specifier) || isAbsolute(specifier);
}

/** Whether a specifier is spelled as a file rather than as a dotted name. */
export function isPath(specifier: string): boolean {
  return (
    isLocal(specifier) ||
    (specifier.includes("/") && !specifier.startsWith("@")) ||
    (moduleExtensions as readonly string[]).includes(extname(specifier))
  );
}

/** The files, without their endings, that a specifier may mean. */
function basesOf(specifier: string, fromDir: string, cwd: string): readonly string[] {
  if (specifier.startsWith("file:")) return [fileURLToPath(specifier)];
  if (isLocal(specifier)) return [resolve(fromDir, specifier)];
  if (isPath(specifier)) return unique([resolve(cwd, specifier), resolve(fromDir, specifier)]);
  if (specifier.startsWith("@")) return [];
  const path = specifier.replaceAll(".", "/");
  return unique([resolve(cwd, path), resolve(fromDir, path)]);
}

const unique = (paths: readonly string[]): readonly string[] => [...new Set(paths)];

/** The file itself when it has an ending, TypeScript in the place of JavaScript, and `index` in a folder. */
export function moduleCandidates(base: string): readonly string[] {
  const extension = extname(base);
  if ((moduleExtensions as readonly string[]).includes(extension)) {
    const typescript = extension.replace("j", "t");
    return typescript === extension ? [base] : [base, base.slice(0, -extension.length) + typescript];
  }
  return [
    ...moduleExtensions.map((ending) => base + ending),
    ...moduleExtensions.map((ending) => join(base, `index${ending}`)),
  ];
}

export function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

const isTypeScript = (path: string): boolean => /\.[cm]?tsx?$/.test(path);

/** `registerHooks` of `node:module`, as far as it is used here. Wherever Node strips types by itself it is there. */
type RegisterHooks = (hooks: {
  load(url: string, context: object, nextLoad: (url: string, context: object) => Loaded): Loaded;
}) => { deregister(): void };

interface Loaded {
  readonly format?: string | null;
}

/**
 * Imports as a Node that does not strip types by itself: TypeScript in the graph of a JavaScript module is refused
 * before anything ran, unless a loader of the user's has made JavaScript of it. Stripped, it would be a second
 * instance beside the one jiti has, without enums, decorators and path aliases.
 */
async function withoutTypeStripping<T>(load: () => Promise<T>): Promise<T> {
  const { registerHooks } = nodeModule as { readonly registerHooks?: RegisterHooks };
  const hooks = registerHooks?.({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context);
      if (!loaded.format?.endsWith("-typescript")) return loaded;
      throw Object.assign(new TypeError(`TypeScript: ${url}`), { code: "ERR_UNKNOWN_FILE_EXTENSION" });
    },
  });
  try {
    return await load();
  } finally {
    hooks?.deregister();
  }
}

/** Errors Node has before running anything of a graph in which there is TypeScript. */
function needsTransform(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ERR_UNKNOWN_FILE_EXTENSION" || code === "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX") return true;
  if (code !== "ERR_MODULE_NOT_FOUND" && code !== "MODULE_NOT_FOUND") return false;
  const missing = /Cannot find (?:module|package) '([^']+)'/.exec(error.message)?.[1];
  if (missing === undefined) return false;
  if (missing === "tq" || missing === "tq/testing") return true; // a global installation; see ownEntries
  return isAbsolute(missing) && moduleCandidates(missing).some(isFile);
}

/** `tq` and `tq/testing` are this very installation, wherever the user's project would find another. */
function ownEntries(): Record<string, string> {
  return { "tq/testing": entry("testing"), tq: entry("index") };
}

function findUp(name: string, from: string): string | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const path = join(folder, name);
    if (existsSync(path)) return path;
    if (dirname(folder) === folder) return undefined;
  }
}

/**
 * A folder for transformed code that nobody else can write to, made if needed. jiti's own
 * choice is a fixed name in the shared temporary folder, where any local user could lay out
 * code for us to run. `undefined` when there is no such place: then nothing is kept.
 */
export function privateCacheFolder(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const uid = process.getuid?.();
  try {
    const base = env.XDG_CACHE_HOME || join(env.HOME || homedir(), ".cache");
    if (!isAbsolute(base)) return undefined;
    const folder = join(base, "tq", "modules");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (uid === undefined) return folder;
    for (let path = folder; dirname(path) !== path; path = dirname(path)) {
      const status = lstatSync(path);
      const ours = status.uid === uid || status.uid === 0;
      const othersMayWrite = (status.mode & 0o022) !== 0;
      const sticky = (status.mode & 0o1000) !== 0;
      if (!status.isDirectory() || !ours || (othersMayWrite && (!sticky || path === folder))) return undefined;
    }
    return folder;
  } catch {
    return undefined;
  }
}

// ── messages ─────────────────────────────────────────────────────────────────

/** What went wrong in one line: the message, and the first line of the user's own code. */
function describeLoadError(error: unknown, file: string, cwd: string): string {
  if (!(error instanceof Error)) return `${String(error)} was thrown`;
  if (error instanceof AppLoadError) return error.message;
  const message = (error.message.split("\n")[0] ?? "").trim().replace(/:$/, "");
  const name = error.name === "Error" ? "" : `${error.name}: `;
  // Beneath the loader are those who had the module loaded: the application's own code, where tq is embedded in it.
  const [stack] = `${error.stack}`.split(/^.*\bModuleLoader\.importFile\b/m);
  const place = firstUserPlace(`${stack}\n${error.message}`) ?? placeOfSyntaxError(error, file);
  if (place === undefined || message.includes(place.split(":")[0] as string)) return `${name}${message}`;
  return `${name}${message} (${displayPath(place, cwd)})`;
}

/** The first `file:line:column` that is neither Node's, a package's nor tq's own. */
function firstUserPlace(text: string): string | undefined {
  return [...text.matchAll(/(?<=^|[\s(]|file:\/\/)(\/[^\s():]+(?::\d+){1,2})/gm)]
    .map((match) => match[1] as string)
    .find((place) => !place.includes("/node_modules/") && !isOurs(place));
}

/** Node keeps the place of a syntax error in a module to itself, and tells only on a terminal. */
function placeOfSyntaxError(error: Error, file: string): string | undefined {
  if (!(error instanceof SyntaxError)) return undefined;
  const check = spawnSync(process.execPath, ["--check", file], { encoding: "utf8", timeout: 5_000 });
  return firstUserPlace(check.stderr ?? "");
}

/** A path as the user would type it. */
export function displayPath(path: string, cwd: string): string {
  const inside = relative(cwd, path);
  return inside === "" || inside.startsWith("..") ? path : inside;
}

// ── configuration ────────────────────────────────────────────────────────────

/** The configuration module of a project that has one: `tq.config.ts`, `.js`, `.mjs`, … or `.json` in `cwd`. */
export function findConfigModule(cwd: string): string | undefined {
  return [...moduleExtensions, ".json"].map((ending) => join(cwd, `tq.config${ending}`)).find(isFile);
}

/**
 * The settings a configuration module holds: what a JSON file says, the object a module
 * exports as default, or its named exports but those that begin with `_`. Relative modules
 * of `include` and `imports` are found from its folder.
 */
export async function loadConfigModule(path: string, options: { readonly cwd: string }): Promise<ModuleExports> {
  const settings = await readConfigModule(path, options);
  const anchored = ["include", "imports"].flatMap((name) => {
    const modules = settings[name];
    if (!Array.isArray(modules)) return [];
    return [[name, modules.map((one) => (/^\.\.?\//.test(String(one)) ? resolve(dirname(path), one) : one))]];
  });
  return { ...settings, ...Object.fromEntries(anchored) };
}

async function readConfigModule(path: string, options: { readonly cwd: string }): Promise<ModuleExports> {
  if (extname(path) === ".json") {
    try {
      return asObject(JSON.parse(readFileSync(path, "utf8")), path);
    } catch (error) {
      if (error instanceof AppLoadError) throw error;
      throw new AppLoadError(`${basename(path)}: ${(error as Error).message}`, { cause: error });
    }
  }
  const exported = await new ModuleLoader(options).importFile(path);
  if ("default" in exported) return asObject(exported.default, path);
  return Object.fromEntries(Object.entries(exported).filter(([name]) => !name.startsWith("_")));
}

function asObject(value: unknown, path: string): ModuleExports {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as ModuleExports;
  throw new AppLoadError(`${basename(path)} must hold an object of settings, got: ${JSON.stringify(value)}`);
}
