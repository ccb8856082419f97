import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseMultiArguments } from "../../src/multi/arguments.ts";
import { expandFor } from "../../src/multi/names.ts";
import { planNodes } from "../../src/multi/node.ts";
import { splitWords } from "../../src/multi/words.ts";
import { celeryBin, describeWith } from "../helpers/services.ts";
import { pythonEnv, pythonFolder } from "../helpers/worker.ts";

/** Command lines both have to read alike; each with files in a folder that is there. */
const lines = [
  "3 -c 3",
  "3 --range-prefix=worker -c 3",
  "image video data -c 3",
  "2 --hostname=worker.example.com -c 3",
  "2 -n other.example.com",
  "foo@worker.example.com bar@worker.example.com -c 3",
  "10 -l INFO -Q:1-3 images,video -Q:4,5 data -Q default -l:4,5 DEBUG",
  "3 -c 3 -c:1 10",
  "image video data -c 3 -c:image 10",
  "image video data -c 3 -c:2 10",
  "5 -c 3 -c:1-3 10",
  "5 -c 3 -c:1,2,3 10",
  "foo bar baz xuzzy -c 3 -c:foo,bar,baz 10",
  "foo bar@h2 -c:bar@h2 4 -c:foo 5",
  "a b --prefix=x- --suffix=h1",
  "a b --suffix=''",
  `a b --suffix='""'`,
  "w1 -A proj -b redis:// --workdir=/tmp -l INFO",
  "w1 w2 --loglevel:w2=debug --max-tasks-per-child=10",
  "w1 -E -z 1 --without-gossip -y",
  "w1 -l INFO -- worker.prefetch_multiplier=1",
  "w1 --append='-c 3'",
  "a b -c:0 2",
  "a b -c:3 2",
];

interface Plan {
  readonly name: string;
  readonly words: readonly string[];
  readonly pidfile: string;
  readonly expanded: string;
}

const files = ["--pidfile=/tmp/%n.pid", "--logfile=/tmp/%n%I.log"];

function ours(words: readonly string[]): readonly Plan[] | string {
  try {
    return planNodes({
      // Nothing is known of the options, as Celery knows nothing of them.
      arguments: parseMultiArguments(words, { takesValue: () => undefined }),
      host: "myhost",
      cwd: "/",
      execPath: "python",
      tq: "/tq.js",
    }).map((node) => ({
      name: node.name,
      words: node.argv,
      pidfile: node.pidfile,
      expanded: expandFor(node, "%n %N %h %p %d %i %I"),
    }));
  } catch (error) {
    return (error as Error).message;
  }
}

/** Options with their values, in any order: Celery turns those of `celery` itself round. */
function optionsIn(words: readonly string[]): string[] {
  return words
    .join(" ")
    .replace(/^(tq|-m celery) /, " ")
    .split(/ (?=-)/)
    .map((option) => option.replace(/ worker$/, "").trim())
    .filter((option) => option !== "" && option !== "worker" && !option.startsWith("--executable"))
    .sort();
}

describeWith("celery", "beside Celery's own `celery multi`", () => {
  test("the same nodes with the same options come of a command line", () => {
    const argvs = lines.map((line) => [...splitWords(line), ...files].filter((word) => word !== ""));
    // What follows `--` is passed on as it is: the files have to stand before it.
    const inputs = argvs.map((words) => (words.includes("--") ? [...files, ...words.slice(0, -2)] : words));
    const python = spawnSync(join(celeryBin(), "python"), ["multi_nodes.py"], {
      cwd: pythonFolder,
      env: pythonEnv(),
      input: JSON.stringify(inputs),
      encoding: "utf8",
    });
    expect(python.stderr).toBe("");
    const theirs = JSON.parse(python.stdout) as (readonly Plan[] | { readonly error: string })[];
    expect(theirs).toHaveLength(lines.length);
    for (const [index, input] of inputs.entries()) {
      const theirPlan = theirs[index] as readonly Plan[] | { readonly error: string };
      const ourPlan = ours(input);
      if ("error" in theirPlan) {
        expect(ourPlan, lines[index]).toContain(theirPlan.error.split(":")[0]);
        continue;
      }
      const comparable = (plan: readonly Plan[]) => plan.map((node) => ({ ...node, words: optionsIn(node.words) }));
      expect(comparable(ourPlan as readonly Plan[]), lines[index]).toEqual(comparable(theirPlan));
    }
  });
});
