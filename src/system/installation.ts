import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(import.meta.url);

/** The folder this tq is installed in: it holds `package.json`, `bin` and `dist`. */
export const installation = nearestPackage(dirname(here));

/** Whether this runs from the sources, as tests do, rather than from what was built of them. */
const fromSource = here.endsWith(".ts");

/** Our own file that users' modules get for `tq` and its like: `index`, `testing`. */
export function entry(name: string): string {
  return join(installation, fromSource ? `src/${name}.ts` : `dist/${name}.js`);
}

/** Our own file that is run by a process or thread of its own; Node runs what was built only. */
export function program(name: string): string {
  return join(installation, "dist", `${name}.js`);
}

/** Whether a file is ours: neither the user's nor a package's. */
export function isOurs(path: string): boolean {
  return ["src", "dist"].some((folder) => path.startsWith(join(installation, folder, "/")));
}

function nearestPackage(from: string): string {
  for (let folder = from; ; folder = dirname(folder)) {
    if (existsSync(join(folder, "package.json")) || dirname(folder) === folder) return folder;
  }
}
