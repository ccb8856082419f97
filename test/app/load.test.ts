import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { compileFunction, constants } from "node:vm";
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from "vitest";

// The built files, imported by Node itself: inside the test runner's module graph `import()` of
// a user's file would go through the runner's own transformation and prove nothing.
const nativeImport = compileFunction("return import(url)", ["url"], {
  importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
}) as (url: string) => Promise<unknown>;
const built = <Exports>(path: string): Promise<Exports> =>
  nativeImport(new URL(`../../dist/${path}`, import.meta.url).href) as Promise<Exports>;
const { findApp, loadApp } = await built<typeof import("../../src/app/load.ts")>("app/load.js");
const { findConfigModule, importModule, loadConfigModule, ModuleLoader, privateCacheFolder } =
  await built<typeof import("../../src/app/module-loader.ts")>("app/module-loader.js");
const { AppLoadError } = await built<typeof import("../../src/errors.ts")>("errors.js");

let cwd: string;

const cache = mkdtempSync(join(tmpdir(), "tq-cache-"));
vi.stubEnv("XDG_CACHE_HOME", cache);

afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(cache, { recursive: true });
});

beforeEach(() => {
  cwd = realpathSync(mkdtempSync(join(tmpdir(), "tq-load-")));
});

afterEach(() => {
  rmSync(cwd, { recursive: true });
});

function project(files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries({ "package.json": '{"type":"module"}', ...files })) {
    mkdirSync(dirname(join(cwd, path)), { recursive: true });
    writeFileSync(join(cwd, path), text);
  }
}

/** An expression that is an app as far as the search can tell. */
const app = (main: string): string => `({ [Symbol.for("tq.app")]: true, main: ${JSON.stringify(main)} })`;

const nameOf = async (spec: string): Promise<unknown> => ((await loadApp(spec, { cwd })) as { main: string }).main;

async function refusal(spec: string): Promise<Error> {
  const error = await loadApp(spec, { cwd }).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(AppLoadError);
  return error as Error;
}

describe("-A finds", () => {
  const exporting = (main: string): string => `export const app = ${app(main)};`;
  const table: readonly (readonly [spec: string, what: string, files: Readonly<Record<string, string>>])[] = [
    ["proj", "proj.ts", { "proj.ts": exporting("here"), "proj/app.ts": exporting("no") }],
    ["proj", "proj.js", { "proj.js": exporting("here") }],
    ["proj", "proj.mjs", { "proj.mjs": exporting("here") }],
    ["proj", "proj.cjs", { "proj.cjs": `exports.app = ${app("here")};` }],
    ["proj", "proj/index.ts", { "proj/index.ts": exporting("here"), "proj/app.ts": exporting("no") }],
    ["proj", "proj/app.ts", { "proj/app.ts": exporting("here"), "proj/celery.ts": exporting("no") }],
    ["proj", "proj/tq.js", { "proj/tq.js": exporting("here") }],
    ["proj", "proj/celery.ts", { "proj/celery.ts": exporting("here") }],
    [
      "proj",
      "the submodule when the package has no app",
      { "proj/index.ts": "export const x = 1;", "proj/app.ts": exporting("here") },
    ],
    ["proj", "the export app before tq", { "proj.js": `export const tq = ${app("no")}, app = ${app("here")};` }],
    ["proj", "the export tq before celery", { "proj.js": `export const celery = ${app("no")}, tq = ${app("here")};` }],
    ["proj", "the default export", { "proj.ts": `export default ${app("here")};` }],
    ["proj", "the only app, whatever its name", { "proj.js": `export const queue = ${app("here")}, other = 1;` }],
    ["proj", "one app under two names", { "proj.js": `export const a = ${app("here")}, b = a;` }],
    ["proj", "the export app only if it is an app", { "proj.js": `export const app = 1, other = ${app("here")};` }],
    ["proj", "an app made by an async function", { "proj.js": `export const app = Promise.resolve(${app("here")});` }],
    ["proj:other", "the attribute named", { "proj.js": `export const app = ${app("no")}, other = ${app("here")};` }],
    ["proj:apps.main", "an attribute with a dot", { "proj.js": `export const apps = { main: ${app("here")} };` }],
    ["proj.sub", "a module in a folder", { "proj/sub.ts": exporting("here") }],
    ["proj.sub:x", "an attribute of a module in a folder", { "proj/sub.ts": `export const x = ${app("here")};` }],
    ["proj.main", "an attribute after a dot", { "proj.ts": `export const main = ${app("here")};` }],
    ["./src/main.ts", "a path", { "src/main.ts": exporting("here") }],
    ["src/main", "a path without ending", { "src/main.ts": exporting("here") }],
    ["./src/main.js", "TypeScript where JavaScript is named", { "src/main.ts": exporting("here") }],
    ["./src/main.ts:x", "an attribute of a path", { "src/main.ts": `export const x = ${app("here")};` }],
    [".", "the app of this folder", { "app.ts": exporting("here") }],
    ["./", "the index of this folder", { "index.js": exporting("here") }],
    ["my-app", "a name with a hyphen", { "my-app.ts": exporting("here") }],
    [
      "@me/jobs",
      "a package",
      {
        "node_modules/@me/jobs/package.json": '{"type":"module","exports":"./lib.js"}',
        "node_modules/@me/jobs/lib.js": exporting("here"),
      },
    ],
    [
      "jobs",
      "a package for import only",
      {
        "node_modules/jobs/package.json": '{"type":"module","exports":{"import":"./lib.js"}}',
        "node_modules/jobs/lib.js": exporting("here"),
      },
    ],
  ];
  test.each(table)("%s: %s", async (spec, _what, files) => {
    project(files);
    expect(await nameOf(spec)).toBe("here");
  });
});

test("it is said where the app was found", async () => {
  project({ "proj/app.ts": `export default ${app("x")};` });
  expect(await findApp("proj", { cwd })).toMatchObject({ file: join(cwd, "proj/app.ts"), attribute: "default" });
});

describe("TypeScript is loaded as it is", () => {
  test("enums, top-level await, decorators, .js for .ts, path aliases and one instance of what is shared", async () => {
    project({
      "tsconfig.json": '{"compilerOptions":{"experimentalDecorators":true,"paths":{"~/*":["./src/*"]}}}',
      "src/shared.ts": "globalThis.sharedLoads = (globalThis.sharedLoads ?? 0) + 1; export const shared = { n: 1 };",
      "src/proj.ts": `
        import { shared } from "./shared.js";
        import { shared as aliased } from "~/shared.ts";
        enum Colour { Red = "red", Blue = "blue" }
        namespace Inner { export const value = 7; }
        const slow: number = await new Promise<number>((resolve) => setTimeout(() => resolve(3), 5));
        function mark(target: unknown): void { (target as { marked: boolean }).marked = true; }
        @mark class Marked { constructor(readonly size: number) {} }
        export const app = { [Symbol.for("tq.app")]: true, main: Colour.Blue, value: Inner.value, slow,
          marked: (Marked as unknown as { marked: boolean }).marked, size: new Marked(4).size, same: shared === aliased, shared };`,
      "src/tasks.ts": 'import { app } from "./proj"; import { shared } from "./shared.ts"; export { app, shared };',
    });
    const loader = { cwd };
    const loaded = (await loadApp("src.proj", loader)) as Record<string, unknown>;
    expect(loaded).toMatchObject({ main: "blue", value: 7, slow: 3, marked: true, size: 4, same: true });
    const tasks = await new ModuleLoader({ cwd }).importModule("src.tasks", cwd);
    expect(tasks.app).toBe(loaded);
    expect(tasks.shared).toBe(loaded.shared);
    expect((globalThis as { sharedLoads?: number }).sharedLoads).toBe(1);
    delete (globalThis as { sharedLoads?: number }).sharedLoads;
  });

  test("JavaScript may import it", async () => {
    project({
      "proj.js": `import { name } from "./names.ts"; export const app = ${app("x")}; app.main = name;`,
      "names.ts": "export const name: string = 'typed';",
    });
    expect(await nameOf("proj")).toBe("typed");
  });

  test("JavaScript may import what Node alone could not load, and there is one instance of it", async () => {
    project({
      "tsconfig.json": '{"compilerOptions":{"experimentalDecorators":true,"paths":{"~/*":["./src/*"]}}}',
      "src/proj.js": `
        import { shared } from "./shared.ts";
        import { name } from "./names.ts";
        export const app = ${app("x")};
        Object.assign(app, { main: name, shared });`,
      "src/shared.ts": "globalThis.sharedLoads = (globalThis.sharedLoads ?? 0) + 1; export const shared: object = {};",
      "src/names.ts": `
        import { Name } from "~/types.ts";
        const mark = (_target: unknown): void => {};
        @mark class Names { constructor(readonly name: Name) {} }
        export const { name } = new Names("typed");`,
      "src/types.ts": "export type Name = string;",
      "src/tasks.ts": 'import { app } from "./proj.js"; import { shared } from "./shared.ts"; export { app, shared };',
    });
    const loaded = (await loadApp("src.proj", { cwd })) as Record<string, unknown>;
    expect(loaded.main).toBe("typed");
    const tasks = await new ModuleLoader({ cwd }).importModule("src.tasks", cwd);
    expect(tasks.app).toBe(loaded);
    expect(tasks.shared).toBe(loaded.shared);
    expect((globalThis as { sharedLoads?: number }).sharedLoads).toBe(1);
    delete (globalThis as { sharedLoads?: number }).sharedLoads;
  });

  test("a loader of the user's own goes before", async () => {
    project({
      "proj.js": `import { name } from "./names.ts"; export const app = ${app("x")}; app.main = name;`,
      "names.ts": "export const name: string = 'typed';",
      "loader.mjs": `
        import { register } from "node:module";
        const source = 'export const name = "loaded";';
        const load = \`export const load = async (url, context, next) => url.endsWith("names.ts")
          ? { format: "module", source: \${JSON.stringify(source)}, shortCircuit: true } : next(url, context);\`;
        register("data:text/javascript," + encodeURIComponent(load));`,
      "main.mjs": `
        import { loadApp } from ${JSON.stringify(new URL("../../dist/app/load.js", import.meta.url).href)};
        console.log((await loadApp("proj", { cwd: process.cwd() })).main);`,
    });
    const { stdout, stderr } = await promisify(execFile)(process.execPath, ["--import", "./loader.mjs", "main.mjs"], {
      cwd,
      timeout: 20_000,
    });
    expect(`${stdout}${stderr}`).toBe("loaded\n");
  });

  test("it works in a package of CommonJS too", async () => {
    project({
      "package.json": "{}",
      "proj.ts": `import { join } from "node:path"; export const app = ${app("x")}; app.main = join("a", "b");`,
    });
    expect(await nameOf("proj")).toBe("a/b");
  });

  test("a tsconfig that cannot be read does not stand in the way", async () => {
    project({ "tsconfig.json": '{"extends":"nowhere/base"}', "proj.ts": `export const app = ${app("here")};` });
    expect(await nameOf("proj")).toBe("here");
  });
});

describe("one clear message when", () => {
  test("there is no such module: what was looked for", async () => {
    project({});
    const error = await refusal("proj");
    expect(error.message).toBe(
      `Unable to load the tq application.\nThe module proj was not found. Looked in ${cwd} for ` +
        "proj.*, proj/index.*, proj/app.*, proj/tq.*, proj/celery.*.",
    );
  });

  test("the attribute is not there: what there is", async () => {
    project({ "proj.js": "export const a = 1, b = 2;" });
    expect((await refusal("proj:nope")).message).toBe(
      "Unable to load the tq application.\nModule 'proj' has no attribute 'nope'. It exports: a, b.",
    );
  });

  test("the attribute is no app: what it is", async () => {
    project({ "proj.js": "export const a = () => 1;" });
    expect((await refusal("proj:a")).message).toContain(
      "proj:a (proj.js) is not an app made by new Tq(), but a value of type function.",
    );
  });

  test("there is no app in it: how to write one", async () => {
    project({ "proj.js": "export const a = 1;" });
    expect((await refusal("proj")).message).toContain(
      "Module 'proj' (proj.js) has no app. It exports: a. Write: export const app = new Tq(\"proj\", {…})",
    );
  });

  test("there are several apps: their names", async () => {
    project({ "proj.js": `export const one = ${app("1")}, two = ${app("2")};` });
    expect((await refusal("proj")).message).toContain("exports several apps: one, two. Say which: -A proj:one.");
  });

  test("it throws while loading: message and place, and the cause is kept", async () => {
    project({
      "proj/app.ts": 'import "./settings.ts";',
      "proj/settings.ts": '\n\nthrow new RangeError("no BROKER in the environment");',
    });
    const error = await refusal("proj");
    expect(error.message).toBe(
      "Unable to load the tq application.\nWhile loading proj/app.ts: RangeError: no BROKER in the environment (proj/settings.ts:3:7)",
    );
    expect(error.cause).toBeInstanceOf(RangeError);
  });

  test("plain JavaScript throws", async () => {
    project({ "proj.js": '\nthrow new Error("boom");' });
    expect((await refusal("proj")).message).toContain("While loading proj.js: boom (proj.js:2:7)");
  });

  test("something that is no error is thrown", async () => {
    project({ "proj.js": 'throw "a string";' });
    expect((await refusal("proj")).message).toContain("While loading proj.js: a string was thrown");
  });

  test("what it imports is not there", async () => {
    project({ "proj.ts": 'import "./gone.ts";', "other.js": 'import "left-pad-of-nobody";' });
    expect((await refusal("proj")).message).toMatch(/While loading proj\.ts: .*gone\.ts/);
    expect((await refusal("other")).message).toMatch(/While loading other\.js: .*left-pad-of-nobody/);
  });

  test("it is not valid code: the place", async () => {
    project({ "proj.ts": "export const app = ;", "other.js": "\nexport const app = ;" });
    expect((await refusal("proj")).message).toMatch(/While loading proj\.ts: .*1:19/);
    expect((await refusal("other")).message).toMatch(/While loading other\.js: SyntaxError: .*other\.js:2/);
  });

  test("nothing is named", async () => {
    expect((await refusal("")).message).toContain('"" names no module');
  });
});

test("a module that throws is run once", async () => {
  project({ "proj.js": "globalThis.throwingLoads = (globalThis.throwingLoads ?? 0) + 1; throw new Error('boom');" });
  await refusal("proj");
  const counted = globalThis as { throwingLoads?: number };
  expect(counted.throwingLoads).toBe(1);
  delete counted.throwingLoads;
});

test("modules to include are found by path from their app, by dotted name, and as packages", async () => {
  project({
    "proj/tasks.ts": "export const who = 'tasks';",
    "proj/more/index.js": "export const who = 'more';",
    "node_modules/pkg/package.json": '{"type":"module","exports":{"./tasks":"./tasks.js"}}',
    "node_modules/pkg/tasks.js": "export const who = 'pkg';",
  });
  const loader = new ModuleLoader({ cwd });
  const who = async (specifier: string, from = join(cwd, "proj")): Promise<unknown> =>
    (await loader.importModule(specifier, from)).who;
  expect(await who("./tasks.ts")).toBe("tasks");
  expect(await who("./tasks")).toBe("tasks");
  expect(await who("./tasks.js")).toBe("tasks");
  expect(await who("proj.tasks")).toBe("tasks");
  expect(await who("proj/tasks.ts")).toBe("tasks");
  expect(await who("proj.more")).toBe("more");
  expect(await who("pkg/tasks")).toBe("pkg");
  expect(await who(join(cwd, "proj/tasks.ts"))).toBe("tasks");
  expect((await importModule("./tasks.ts", join(cwd, "proj"))).who).toBe("tasks");
  await expect(who("proj.gone")).rejects.toThrow(
    /The module proj\.gone was not found\. Looked in .* for proj\/gone\.\*, proj\/gone\/index/,
  );
});

test("the configuration module is found and read in each of its forms", async () => {
  project({});
  expect(findConfigModule(cwd)).toBeUndefined();
  project({ "tq.config.json": '{"resultExpires": 60}' });
  expect(findConfigModule(cwd)).toBe(join(cwd, "tq.config.json"));
  expect(await loadConfigModule(join(cwd, "tq.config.json"), { cwd })).toEqual({ resultExpires: 60 });
  project({ "tq.config.mjs": "export const resultExpires = 61, _private = 1;" });
  expect(await loadConfigModule(findConfigModule(cwd) as string, { cwd })).toEqual({ resultExpires: 61 });
  project({ "tq.config.ts": "export default { resultExpires: 62 as number };" });
  expect(await loadConfigModule(findConfigModule(cwd) as string, { cwd })).toEqual({ resultExpires: 62 });
  project({ "wrong.json": "[1]", "broken.json": "{" });
  await expect(loadConfigModule(join(cwd, "wrong.json"), { cwd })).rejects.toThrow(
    "wrong.json must hold an object of settings, got: [1]",
  );
  await expect(loadConfigModule(join(cwd, "broken.json"), { cwd })).rejects.toThrow(AppLoadError);
});

test("transformed code is kept only where nobody else can write", () => {
  const home = join(cwd, "home");
  mkdirSync(home);
  // The temporary folder itself is open to all, but sticky: what is ours in it stays ours.
  expect(privateCacheFolder({ HOME: home })).toBe(join(home, ".cache/tq/modules"));
  const open = join(cwd, "open");
  mkdirSync(open);
  mkdirSync(join(open, "tq"), { mode: 0o777 });
  project({});
  const previous = process.umask(0);
  try {
    rmSync(open, { recursive: true });
    mkdirSync(join(open, "tq/modules"), { recursive: true, mode: 0o777 });
  } finally {
    process.umask(previous);
  }
  expect(privateCacheFolder({ XDG_CACHE_HOME: open })).toBeUndefined();
  expect(privateCacheFolder({ XDG_CACHE_HOME: "/dev/null/x" })).toBeUndefined();
  expect(privateCacheFolder({ XDG_CACHE_HOME: "relative" })).toBeUndefined();
});
