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

/** The nodes, as long as there are any. */
let multi;
process.once("exit", () => {
  if (multi) spawnSync(process.execPath, multi("kill"), { cwd: root, env });
  rmSync(folder, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130));

say(bold("tq quickstart"));
say();
if (!isInstalled()) step("installing packages", "npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
step("building", process.execPath, [join(root, "build.mjs")]);
say();

say(bold("1. A worker node in the background, on the embedded store: no server to install"));
const files = [`--pidfile=${join(folder, "%n.pid")}`, `--logfile=${log}`];
const argv = ["-A", "examples/quickstart/app.ts", "-l", "INFO", "-c", "2"];
multi = (command, ...words) => [join(root, "bin", "tq.js"), "multi", command, "quickstart", ...words, ...files];

/** Runs `tq multi`, and shows what it says as it says it. */
async function run(command, ...words) {
  say(dim(`   $ npx tq multi ${[command, "quickstart", ...words].join(" ")}`));
  const child = spawn(process.execPath, multi(command, ...words), {
    cwd: root,
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let beginning = true;
  child.stdout.on("data", (text) => {
    process.stdout.write(
      String(text)
        .replace(/^/gm, (_, at) => (at > 0 || beginning ? "   " : ""))
        .replace(/ {3}$/, ""),
    );
    beginning = String(text).endsWith("\n");
  });
  const code = await new Promise((resolve) => child.once("close", resolve));
  if (code !== 0) process.exit(1);
}

await run("start", ...argv);
say();

say(bold("2. Tasks are queued, and their results come back"));
Object.assign(process.env, env);
const { ModuleLoader } = await import(join(root, "dist", "app", "module-loader.js"));
const { main } = await new ModuleLoader({ cwd: root }).importModule("./main.ts", here);
await main(say);
say();

say(bold("3. What the worker saw"));
const lines = readFileSync(log, "utf8")
  .split("\n")
  .filter((line) => / Task quickstart\./.test(line));
for (const line of lines) say(dim(`   ${line}`));
say();

say(bold("4. The node is stopped: what runs is finished, the rest goes back"));
await run("stopwait");
multi = undefined;
say();
say("Next: the tour in README.md, and examples/quickstart for the code you just ran.");
process.exit(0);
