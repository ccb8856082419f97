import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { expect, test } from "vitest";

/**
 * The layer table of src/README.md. A place may import places in strictly lower rows and
 * itself; siblings in one row do not know each other.
 */
const layers: readonly (readonly string[])[] = [
  ["util", "system", "errors.ts", "log.ts", "log-writer.ts", "version.ts"],
  ["protocol"],
  ["serialization", "canvas", "config"],
  ["broker"],
  ["backend", "events", "control"],
  ["task"],
  ["execution"],
  ["app"],
  ["pool"],
  ["worker", "beat"],
  ["multi"],
  ["cli", "testing", "index.ts", "testing.ts"],
];

/** Layer 0 is language helpers and the operating system: its parts may share each other. */
const sharedRow = new Set(layers[0]);

/** What an importer of a whole row may see less of than its row says. */
const restricted: Readonly<Record<string, readonly string[]>> = {
  multi: ["util", "system", "errors.ts", "log.ts", "log-writer.ts", "version.ts", "protocol", "multi"],
};

/** The named exceptions, file by file, each with its reason in src/README.md. */
const exceptions: readonly (readonly [from: string, to: string])[] = [["worker/embedded-beat.ts", "beat"]];

/** Packages only one file may know, so that the choice can be changed in one place. */
const privatePackages: Readonly<Record<string, readonly string[]>> = {
  "@photostructure/sqlite": ["system/sqlite.ts"],
  "node:sqlite": ["system/sqlite.ts"],
  ioredis: ["broker/redis/", "backend/redis/"],
  amqplib: ["broker/amqp/", "backend/rpc/"],
  jiti: ["app/load.ts", "app/module-loader.ts"],
  piscina: ["pool/threads.ts", "pool/thread-main.ts"],
  commander: ["cli/"],
  "@opentelemetry/api": ["task/tracing.ts"],
  "prom-client": ["worker/metrics.ts"],
  "terminal-kit": ["cli/monitor/"],
  "string-width": ["cli/monitor/"],
  ws: ["system/inspector-client.ts"],
};

/** Inside one folder, transports are named by one file only. */
const transports = ["broker", "backend"];

const source = new URL("../src/", import.meta.url).pathname;

function* sourceFiles(folder: string): Generator<string> {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) yield* sourceFiles(path);
    else if (path.endsWith(".ts")) yield relative(source, path);
  }
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(source, file), "utf8").replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
  const found = [...text.matchAll(/(?:\bfrom\s*|\bimport\s*\(\s*|^\s*import\s+)["']([^"']+)["']/gm)];
  return found.map((match) => match[1] as string);
}

function resolveImport(from: string, specifier: string): string {
  return normalize(join(dirname(from), specifier));
}

const placeOf = (file: string): string => file.split("/")[0] as string;
const rowOf = (place: string): number => layers.findIndex((row) => row.includes(place));
const files = [...sourceFiles(source)];

test("every file of src belongs to a layer", () => {
  expect(files.filter((file) => rowOf(placeOf(file)) < 0)).toEqual([]);
});

test("imports go down the layer table and never up or sideways", () => {
  const wrong: string[] = [];
  for (const file of files) {
    for (const specifier of importsOf(file)) {
      if (!specifier.startsWith(".")) continue;
      const target = resolveImport(file, specifier);
      const [from, to] = [placeOf(file), placeOf(target)];
      if (from === to || exceptions.some(([a, b]) => a === file && b === to)) continue;
      if (sharedRow.has(from) && sharedRow.has(to)) continue;
      const allowed = restricted[from]?.includes(to) ?? rowOf(to) < rowOf(from);
      if (rowOf(from) === layers.length - 1 && rowOf(to) === rowOf(from)) continue;
      if (!allowed) wrong.push(`${file} imports ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("only connect.ts names the transports of its folder", () => {
  const wrong: string[] = [];
  for (const file of files) {
    for (const specifier of importsOf(file)) {
      if (!specifier.startsWith(".")) continue;
      const target = resolveImport(file, specifier);
      const [place, transport, ...rest] = target.split("/");
      if (!transports.includes(place as string) || rest.length === 0) continue;
      const inside = file.startsWith(`${place}/${transport}/`);
      const composer = file === `${place}/connect.ts`;
      // A result store may stand on the connection code of the broker of the same name.
      const twin =
        file.startsWith(`backend/${transport}/`) || (transport === "amqp" && file.startsWith("backend/rpc/"));
      if (!inside && !composer && !twin) wrong.push(`${file} imports ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("a package with one owner is imported by its owner alone", () => {
  const wrong: string[] = [];
  for (const file of files) {
    for (const specifier of importsOf(file)) {
      const owners = privatePackages[specifier];
      if (owners && !owners.some((owner) => file.startsWith(owner))) wrong.push(`${file} imports ${specifier}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("no cycle of imports", () => {
  const graph = new Map(
    files.map((file) => [
      file,
      importsOf(file)
        .filter((specifier) => specifier.startsWith("."))
        .map((specifier) => resolveImport(file, specifier)),
    ]),
  );
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) {
      cycles.push([...path.slice(path.indexOf(file)), file].join(" -> "));
      return;
    }
    if (done.has(file)) return;
    for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  expect(cycles).toEqual([]);
});

test("every relative import names a file that exists", () => {
  const known = new Set(files);
  const wrong = files.flatMap((file) =>
    importsOf(file)
      .filter((specifier) => specifier.startsWith("."))
      .map((specifier) => resolveImport(file, specifier))
      .filter((target) => !known.has(target))
      .map((target) => `${file} imports ${target}`),
  );
  expect(wrong).toEqual([]);
});

/** The files a process has once it has loaded these: what is imported as a value, not what is loaded when its turn comes. */
function loadedBy(...roots: readonly string[]): readonly string[] {
  const loaded = new Set<string>();
  const load = (file: string): void => {
    if (loaded.has(file)) return;
    loaded.add(file);
    const text = readFileSync(join(source, file), "utf8").replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
    const statements = text.matchAll(/^(?:import|export)\s(?!type\s)[^;]*?from\s*["'](\.[^"']+)["']/gm);
    for (const [statement, specifier] of statements) {
      const names = /\{([^}]*)\}/
        .exec(statement)?.[1]
        ?.split(",")
        .filter((name) => name.trim() !== "");
      if (names?.length && names.every((name) => /^\s*type\s/.test(name))) continue;
      load(resolveImport(file, specifier as string));
    }
  };
  for (const root of roots) load(root);
  return [...loaded];
}

test("a child loads the app and what runs a task, nothing else", () => {
  const loaded = loadedBy("index.ts", "pool/prefork/child-main.ts");
  expect(loaded).toContain("execution/executor.ts");
  const light = [
    "worker/embedded.ts",
    "beat/embedded.ts",
    "beat/crontab.ts",
    "beat/crontab-field.ts",
    "beat/interval.ts",
  ];
  const heavy =
    /^(worker|beat|multi|cli|testing|log-writer|broker\/\w+\/|backend\/\w+\/|pool\/(crew|threads|async|prefork\/prefork))/;
  expect(loaded.filter((file) => heavy.test(file) && !light.includes(file))).toEqual([]);
});
