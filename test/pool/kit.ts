import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Tq } from "../../src/app/app.ts";
import type { Pool } from "../../src/pool/pool.ts";
import type { PoolRequest } from "../../src/worker/create-pool.ts";
import type { WorkerOptions } from "../../src/worker/options.ts";
import { listeningLogger, type PoolUnderTest } from "../contract/pool.ts";
import { root } from "../helpers/build.ts";
import { temporaryFolder } from "../helpers/tmp.ts";

export const actions = join(root, "test", "apps", "actions.ts");

/** Makes pools out of what was built, as children are, over a store in a folder that lives as long. */
export async function poolMaker(): Promise<
  AsyncDisposable & { readonly make: (options: WorkerOptions, spec?: string) => Promise<PoolUnderTest> }
> {
  const folder = await temporaryFolder();
  process.env.TQ_BROKER_URL = `sqlite://${folder.file("tq.db")}`;
  const built = (path: string): Promise<Record<string, unknown>> =>
    import(pathToFileURL(join(root, "dist", path)).href) as Promise<Record<string, unknown>>;
  const { createPool } = (await built("worker/create-pool.js")) as {
    createPool: (request: PoolRequest) => Promise<Pool>;
  };
  const { loadApp } = (await built("app/load.js")) as { loadApp: (spec: string, at: object) => Promise<Tq> };
  const app = await loadApp(actions, { cwd: root });
  return {
    async make(options, spec = actions) {
      const lines: string[] = [];
      app.conf.setFlags(options.overrides ?? {});
      const fatal: Error[] = [];
      const logger = listeningLogger(lines) as unknown as PoolRequest["logger"];
      const pool = await createPool({
        app,
        options: { appSpec: spec, cwd: root, loglevel: "DEBUG", ...options },
        hostname: "w@test",
        concurrency: options.concurrency ?? 2,
        logger,
        onFatal: (error) => fatal.push(error),
      });
      return { pool, lines, fatal };
    },
    async [Symbol.asyncDispose]() {
      await app.close();
      delete process.env.TQ_BROKER_URL;
      await folder[Symbol.asyncDispose]();
    },
  };
}
