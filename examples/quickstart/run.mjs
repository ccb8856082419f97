// `npm run quickstart`: from a fresh clone to tasks running, with nothing set up beforehand.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { styleText } from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "..");
const folder = mkdtempSync(join(tmpdir(), "tq-quickstart-"));
const log = join(folder, "worker.log");
const env = {
  ...process.env,
  TQ_BROKER_URL: `sqlite://${join(folder, "tq.db")}`,
  TQ_RESULT_BACKEND: `sqlite://${join(folder, "tq.db")}`,
};

const dim = (text) => (process.stdout.isTTY ? styleText("dim", text) : text);
const bold = (text) => (process.stdout.isTTY ? styleText("bold", text) : text);
const say = (text = "") => process.stdout.write(`${text}\n`);

function step(what, command, args) {
  process.stdout.write(dim(`  ${what} ... `));
  const begun = performance.now();
  const done = spawnSync(command, args, { cwd: root, encoding: "utf8" });
  if (done.status !== 0) {
    say("failed");
    process.stderr.write(`${done.stdout ?? ""}${done.stderr ?? ""}${done.error?.message ?? ""}\n`);
    process.exit(1);
  }
  say(dim(`${((performance.now() - begun) / 1000).toFixed(1)} s`));
}

const isInstalled = () => {
  const mark = join(root, "node_modules", ".package-lock.json");
  return existsSync(mark) && statSync(mark).mtimeMs >= statSync(join(root, "package-lock.json")).mtimeMs;
};

let worker;
const exited = new Promise((resolve) => {
  process.once("exit", () => {
    worker?.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130));
  resolve();
});
await exited;

say(bold("tq quickstart"));
say();
if (!isInstalled()) step("installing packages", "npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
step("building", process.execPath, [
  join(root, "node_modules", "typescript", "bin", "tsc"),
  "-p",
  join(root, "tsconfig.build.json"),
]);
say();

say(bold("1. A worker node, on the embedded store: no server to install"));
const argv = ["-A", "examples/quickstart/app.ts", "worker", "-l", "INFO", "-c", "2", "-n", "quickstart@%h", "-f", log];
say(dim(`   $ npx tq ${argv.slice(0, -2).join(" ")}`));
worker = spawn(process.execPath, [join(root, "bin", "tq.js"), ...argv], {
  cwd: root,
  env,
  stdio: ["ignore", "pipe", "inherit"],
});
let banner = "";
worker.stdout.on("data", (text) => {
  banner += text;
});
const gone = new Promise((resolve) => worker.once("exit", (code, signal) => resolve(code ?? signal)));
const readLog = () => (existsSync(log) ? readFileSync(log, "utf8") : "");
const deadline = Date.now() + 30_000;
while (!readLog().includes(" ready.")) {
  const over = await Promise.race([
    gone.then(() => true),
    new Promise((resolve) => setTimeout(() => resolve(false), 20)),
  ]);
  if (over || Date.now() > deadline) {
    process.stderr.write(`the worker did not start:\n${readLog()}\n`);
    process.exit(1);
  }
}
say(banner.trimEnd().replace(/^/gm, "   "));
say();

say(bold("2. Tasks are queued, and their results come back"));
Object.assign(process.env, env);
const { ModuleLoader } = await import(join(root, "dist", "app", "module-loader.js"));
const { main } = await new ModuleLoader({ cwd: root }).importModule("./main.ts", here);
await main(say);
say();

say(bold("3. What the worker saw"));
const lines = readLog()
  .split("\n")
  .filter((line) => / Task quickstart\./.test(line));
for (const line of lines) say(dim(`   ${line}`));
say();

say(bold("4. TERM stops it: what runs is finished, the rest goes back"));
worker.kill("SIGTERM");
say(`   the worker ended with exit code ${await gone}`);
worker = undefined;
say();
say("Next: the tour in README.md, and examples/quickstart for the code you just ran.");
process.exit(0);
