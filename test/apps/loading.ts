import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Tq } from "tq";

const { LOADING_QUEUE = "loading", LOADING_SECONDS = "0", LOADING_FAILS_ONCE } = process.env;

/** An app that takes its time to load, or that the first child or thread fails to load. */
export const app = new Tq("loading", { taskDefaultQueue: LOADING_QUEUE });

await sleep(Number(LOADING_SECONDS) * 1000);
if (LOADING_FAILS_ONCE && process.argv[1]?.includes("child-main") && isFirst(LOADING_FAILS_ONCE))
  throw new Error("no database yet");

app.task("loading.ok", () => "ok");

function isFirst(file: string): boolean {
  try {
    writeFileSync(file, "", { flag: "wx" });
    return true;
  } catch {
    return false;
  }
}
