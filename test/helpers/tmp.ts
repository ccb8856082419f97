import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A folder of its own, for this user only, gone with everything in it when disposed. */
export interface TemporaryFolder extends AsyncDisposable {
  readonly path: string;
  /** A path inside the folder. */
  file(...names: string[]): string;
}

/** Makes a temporary folder (mode 0700): `await using folder = await temporaryFolder();` */
export async function temporaryFolder(prefix = "tq-test-"): Promise<TemporaryFolder> {
  const path = await mkdtemp(join(process.env.TQ_TEST_FOLDER ?? tmpdir(), prefix));
  await chmod(path, 0o700);
  return {
    path,
    file: (...names) => join(path, ...names),
    // A server that was just killed may still be writing: look twice before giving up.
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }),
  };
}
