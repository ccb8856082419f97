#!/usr/bin/env node
// `npm test`: everything from a fresh clone to the last line "N passed, N failed, N skipped".
// Plain Node up to the point where the packages are installed. Arguments go to vitest.
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const inCI = Boolean(process.env.CI) && process.env.CI !== "false";
const say = (line) => console.log(`· ${line}`);

/** What went wrong outside of the tests; each counts as one failure. */
const problems = [];
const problem = (line) => {
  problems.push(line);
  console.log(`✗ ${line}`);
};

/** The command that runs now, to be ended with us. */
let current;
let interrupted;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {
    // Twice means: at once.
    if (interrupted) current?.kill("SIGKILL");
    interrupted ??= signal;
    // The terminal sends Ctrl-C to everybody itself; ended twice, vitest would not clean up.
    if (signal !== "SIGINT" || !process.stdin.isTTY) current?.kill(signal);
  });
}

/** Runs a program of this project; resolves with its exit code, or 1 when a signal ended it. */
function run(args, { quiet = false, env = {} } = {}) {
  if (interrupted) return Promise.resolve({ code: 1, output: "" });
  return new Promise((resolve) => {
    const [command, ...rest] = args;
    const child = spawn(command, rest, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: quiet ? ["ignore", "pipe", "pipe"] : "inherit",
    });
    current = child;
    let output = "";
    child.stdout?.on("data", (data) => (output += data));
    child.stderr?.on("data", (data) => (output += data));
    child.on("error", (error) => resolve({ code: 1, output: String(error) }));
    child.on("close", (code) => resolve({ code: code ?? 1, output }));
  });
}

/** Runs a step whose output matters only when it fails. */
async function step(name, args) {
  const started = performance.now();
  const { code, output } = await run(args, { quiet: true });
  if (code === 0) {
    say(`${name} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
    return true;
  }
  if (!interrupted) problem(`${name} failed:\n${output.trim()}`);
  return false;
}

async function install() {
  const stamp = join(root, "node_modules", ".package-lock.json");
  const modified = (path) => statSync(path).mtimeMs;
  if (existsSync(stamp) && modified(stamp) >= modified(join(root, "package-lock.json"))) return true;
  const npm = process.env.npm_execpath;
  const command = npm ? [process.execPath, npm] : ["npm"];
  return step("installed packages", [
    ...command,
    "ci",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--loglevel=error",
  ]);
}

/** Runs that were killed with their servers: their folder names say which process they belonged to. */
function sweep({ processesWith, killAll }) {
  for (const name of readdirSync(tmpdir())) {
    const pid = /^tq-run-(\d+)-/.exec(name)?.[1];
    if (pid === undefined || existsAsProcess(Number(pid))) continue;
    killAll(processesWith({ variable: `TQ_TEST_RUN=${name}`, folder: join(tmpdir(), name) }));
    rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

function existsAsProcess(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

async function runTests(folder, env, { countTests, hiddenFailure }) {
  const report = join(folder, "report.json");
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
  const { code } = await run(
    [
      process.execPath,
      vitest,
      "run",
      "--config",
      "test/vitest.config.ts",
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${report}`,
      ...process.argv.slice(2),
    ],
    { env },
  );
  if (interrupted) problem(`stopped by ${interrupted}`);
  if (!existsSync(report)) {
    if (!interrupted) problem(`vitest ended with code ${code} and without a report`);
    return { passed: 0, failed: 0, skipped: 0 };
  }
  const counts = countTests(JSON.parse(readFileSync(report, "utf8")));
  for (const name of counts.wanting) say(`skipped: ${name}`);
  const hidden = hiddenFailure(counts, code);
  if (hidden && !interrupted) problem(hidden);
  return counts;
}

async function main() {
  if (!(await install())) return { passed: 0, failed: 0, skipped: 0 };
  // From here on the packages are there: one of them loads the helpers as they are, in TypeScript.
  const { createJiti } = await import("jiti");
  const jiti = createJiti(import.meta.url, { fsCache: false });
  const processes = await jiti.import("./helpers/processes.ts");
  sweep(processes);

  const folder = mkdtempSync(join(tmpdir(), `tq-run-${process.pid}-`));
  // Tests that become another user have to get to their own folders below; nobody gets to see which there are.
  chmodSync(folder, 0o711);
  // Whatever we start inherits these: where its files go, and whose it is.
  process.env.TQ_TEST_FOLDER = folder;
  process.env.TQ_TEST_RUN = basename(folder);
  let services;
  try {
    const { provideServices } = await jiti.import("./helpers/provide.ts");
    const [built, provided] = await Promise.all([
      step("built", [process.execPath, join(root, "build.mjs")]),
      provideServices(say),
    ]);
    services = provided;
    for (const line of services.missing) (inCI ? problem : say)(line);
    if (!built || interrupted) return { passed: 0, failed: 0, skipped: 0 };
    if (inCI) {
      const biome = join(root, "node_modules/@biomejs/biome/bin/biome");
      await step("linted", [process.execPath, biome, "check", "."]);
      await step("types checked", [process.execPath, join(root, "node_modules/typescript/bin/tsc"), "--noEmit"]);
    }
    return await runTests(folder, services.env, await jiti.import("./helpers/report.ts"));
  } finally {
    await services?.[Symbol.asyncDispose]();
    const left = processes.processesWith({ variable: `TQ_TEST_RUN=${basename(folder)}`, folder });
    if (!interrupted) for (const { pid, command } of left) problem(`left running: process ${pid} (${command})`);
    processes.killAll(left);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

let counts = { passed: 0, failed: 0, skipped: 0 };
try {
  counts = await main();
} catch (error) {
  problem(error.stack ?? String(error));
}
const failed = counts.failed + problems.length;
process.exitCode = failed > 0 ? 1 : 0;
if (interrupted) process.exitCode = 130;
console.log(`${counts.passed} passed, ${failed} failed, ${counts.skipped} skipped`);
process.exit();
