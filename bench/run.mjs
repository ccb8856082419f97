// `npm run bench`: every benchmark in turn. Wants redis-server on the path and, for the ratios, a Celery:
// TQ_TEST_CELERY names the bin folder of its virtual environment (`npm test` makes one and says where).
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const all = ["drain", "rtt", "startup", "depth", "publish", "memory", "eta", "control", "canvas"];
const chosen = process.argv.slice(2).filter((name) => all.includes(name));
for (const name of chosen.length > 0 ? chosen : all) {
  console.log(`\n── ${name} ──`);
  const { status } = spawnSync(process.execPath, [fileURLToPath(new URL(`${name}.mjs`, import.meta.url))], {
    stdio: "inherit",
  });
  if (status !== 0) process.exit(status ?? 1);
}
