import { execSync } from "node:child_process";
import { appendFileSync, existsSync } from "node:fs";
import { Tq } from "tq";

/** Tasks that hold their process, each in its own way, until the file `FILE.end` is there. Each leaves its process id in FILE when it begins. */
export const app = new Tq("blocked", { taskDefaultQueue: process.env.BLOCKED_QUEUE ?? "celery" });

interface Held {
  readonly end: string;
}

/** Types above and around it, none of which moves a line. */
function spin({ end }: Held): string {
  let rounds = 0;
  while (!existsSync(end)) rounds += 1;
  return rounds > 0 ? "done" : "no time";
}

const begin = (file: string): Held => {
  appendFileSync(file, `${process.pid}\n`);
  return { end: `${file}.end` };
};

app.task("blocked.loop", function loop(file: string) {
  return spin(begin(file));
});

app.task("blocked.starve", async function starve(file: string) {
  for (const { end } = begin(file); !existsSync(end); ) await null;
  return "done";
});

app.task("blocked.shell", function shell(file: string, leave = false) {
  const { end } = begin(file);
  execSync(`until [ -e ${end} ]; do sleep 0.1; done`);
  if (leave) process.exit(3);
  return "done";
});

if (process.env.BLOCKED_LISTENS) process.on("SIGUSR1", () => process.stdout.write(`${process.pid} had the signal\n`));
