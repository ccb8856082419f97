#!/usr/bin/env node
// `npm run build`: compiles src to build, file by file, and puts that together into few files in dist, which is what
// runs. A process that loads 250 small modules takes twice the time and half as much memory again as one that loads 20.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL(".", import.meta.url));

/** The files of dist that are loaded by their names; `program` of src/system/installation.ts names those started. */
const entries = [
  ...[
    "index",
    "testing",
    "cli/main",
    "app/default-app",
    "pool/prefork/child-main",
    "pool/thread-main",
    "broker/redis/lease-thread",
    "broker/sqlite/lease-thread",
  ],
  // What tests and the quickstart put together themselves.
  ...["app/load", "app/module-loader", "errors", "worker/create-pool"],
];

if (!existsSync(join(root, "dist", "index.d.ts"))) rmSync(join(root, "build", ".tsbuildinfo"), { force: true });
const tsc = spawnSync(
  process.execPath,
  [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", "tsconfig.build.json"],
  { cwd: root, stdio: "inherit" },
);
if (tsc.status !== 0) process.exit(tsc.status ?? 1);

const { rolldown } = await import("rolldown");
const bundle = await rolldown({
  cwd: root,
  input: Object.fromEntries(entries.map((name) => [name, `build/${name}.js`])),
  platform: "node",
  // Packages stay packages: a project shares them with us, and some are loaded only when their turn comes.
  external: /^[^./]/,
  treeshake: false,
  onwarn(warning) {
    console.error(warning.message);
    process.exitCode = 1;
  },
});
const { output } = await bundle.write({
  dir: "dist",
  format: "esm",
  entryFileNames: "[name].js",
  chunkFileNames: "chunks/[name].js",
  comments: { jsdoc: false },
});
await bundle.close();

// Which modules each file of dist is made of: tests ask it what a command loads.
const parts = output.map(({ fileName, modules = {} }) => [
  fileName,
  Object.keys(modules).map((path) => relative(join(root, "build"), path)),
]);
writeFileSync(join(root, "build", "parts.json"), `${JSON.stringify(Object.fromEntries(parts), null, 2)}\n`);

// What an earlier build has left.
const written = new Set(output.map(({ fileName }) => fileName));
for (const file of readdirSync(join(root, "dist"), { recursive: true })) {
  if (file.endsWith(".js") && !written.has(file.replaceAll("\\", "/"))) rmSync(join(root, "dist", file));
}
