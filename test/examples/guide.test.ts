import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { root } from "../helpers/build.ts";
import { type TemporaryFolder, temporaryFolder } from "../helpers/tmp.ts";
import { startWorker, type WorkerHandle } from "../helpers/worker.ts";

const guide = join(root, "examples", "guide");

/** The examples of Celery's guides, as a reader runs them: each prints what its `.out` says. */
describe("the examples of the guides, on the embedded store,", () => {
  let folder: TemporaryFolder;
  let worker: WorkerHandle;
  /** Nothing set: the embedded store lies in the working directory. */
  const env = (): NodeJS.ProcessEnv => {
    const { TQ_BROKER_URL: _broker, TQ_RESULT_BACKEND: _backend, ...rest } = process.env;
    return { ...rest, NO_COLOR: "1" };
  };

  beforeAll(async () => {
    folder = await temporaryFolder("tq-guide-");
    worker = startWorker({
      app: join(guide, "proj", "app.ts"),
      args: ["-c", "2"],
      env: { TQ_BROKER_URL: undefined, TQ_RESULT_BACKEND: undefined },
      cwd: folder.path,
    });
    await worker.ready();
  });
  afterAll(async () => {
    await worker.term();
    await folder[Symbol.asyncDispose]();
  });

  for (const name of ["next-steps", "tasks", "calling", "canvas"]) {
    test(`${name} print what they say`, async () => {
      const jiti = join(root, "node_modules", "jiti", "lib", "jiti-cli.mjs");
      const { stdout, stderr } = await promisify(execFile)(process.execPath, [jiti, join(guide, `${name}.ts`)], {
        cwd: folder.path,
        timeout: 50_000,
        env: env(),
      });
      expect(stderr).toBe("");
      expect(stdout).toBe(readFileSync(join(guide, `${name}.out`), "utf8"));
    });
  }
});
