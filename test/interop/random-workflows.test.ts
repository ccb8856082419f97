import { existsSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeWith, freshRedis, freshVhost } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startCeleryWorker, startWorker, type WorkerHandle } from "../helpers/worker.ts";
import { type Client, type Outcome, pythonClient } from "./client.ts";
import {
  type Answer,
  composition,
  type Drawn,
  drawWorkflows,
  interpret,
  matches,
  matchesWhole,
  needsPython,
  pythonSends,
} from "./drawn.ts";
import { tqClient } from "./tq-client.ts";

/** Another seed and other numbers look elsewhere. */
const seed = Number(process.env.TQ_TEST_SEED ?? 6);
const runs = { tq: Number(process.env.TQ_TEST_RUNS ?? 50), Python: Number(process.env.TQ_TEST_RUNS ?? 25) };

const transports = {
  redis: ["redis-server", "celery"],
  amqp: ["vhost", "redis-server", "celery"],
} as const;

for (const [index, [transport, needs]] of Object.entries(transports).entries()) {
  describeWith(needs, `random workflows over ${transport}, each call run by a tq worker or by a Celery worker`, () => {
    const resources: AsyncDisposable[] = [];
    const clients = new Map<string, Client>();
    let workers: readonly WorkerHandle[] = [];
    let told: string;

    beforeAll(async () => {
      const [folder, redis] = await Promise.all([temporaryFolder(), freshRedis()]);
      resources.push(folder, redis);
      told = folder.file("told");
      let broker = `${redis.url}/0`;
      if (transport === "amqp") {
        const vhost = await freshVhost();
        resources.push(vhost);
        broker = vhost.url;
      }
      const env = { TQ_BROKER_URL: broker, TQ_RESULT_BACKEND: `${redis.url}/1`, TQ_TELL: told };
      // What a workflow makes of itself, such as `celery.accumulate`, may go to either.
      workers = [
        startCeleryWorker({ args: ["-c", "2", "-n", "python@%h", "-Q", "python,celery"], env }),
        startWorker({ args: ["-c", "2", "-n", "tq@%h", "-Q", "typescript,celery"], env }),
      ];
      const [python, tq] = await Promise.all([
        pythonClient(env),
        tqClient(env),
        ...workers.map((one) => one.ready({ timeout: 40 })),
      ]);
      clients.set("Python", python).set("tq", tq);
    }, 60_000);
    afterAll(async () => {
      for (const client of clients.values()) await client[Symbol.asyncDispose]();
      for (const worker of workers) expect(await worker.term(), worker.output).toEqual({ code: 0, signal: null });
      for (const resource of resources.reverse()) await resource[Symbol.asyncDispose]();
    });

    for (const name of ["tq", "Python"] as const) {
      test(`started from ${name} they come to what they should, and every call runs once`, async () => {
        const client = clients.get(name) as Client;
        const workflows = drawWorkflows(
          runs[name],
          seed + index,
          (drawn) => name === "tq" || (needsPython(drawn) && pythonSends(drawn)),
        );
        const ids: string[] = [];
        // Names are their own within a workflow; its number makes them so among all.
        const numbered = workflows.map((workflow, at) => withPrefix(workflow, `${name}-${at}-`));
        for (const workflow of numbered) ids.push(await client.compose(composition(workflow)));
        const outcomes = await client.outcomes(ids, 40);
        const wrong = numbered.filter((workflow, at) => !isRight(workflow, outcomes[at] as Outcome));
        const answers = numbered.flatMap((workflow) => interpret(workflow).answers);
        const lines = (): string[] =>
          existsSync(told)
            ? readFileSync(told, "utf8")
                .split("\n")
                .filter((line) => line.includes(`"${name}-`))
            : [];
        const show = (workflow: Drawn): string =>
          `${write(workflow)}\n  expected ${JSON.stringify(interpret(workflow).value)}\n  got ${JSON.stringify(outcomes[numbered.indexOf(workflow)])}`;
        expect(wrong.map(show).join("\n"), "these came to something else").toBe("");
        await until(() => lines().length >= answers.length, { message: "every call to have run" }).catch(
          () => undefined,
        );
        expect(amiss(answers, lines())).toEqual([]);
      }, 90_000);
    }
  });
}

function isRight(workflow: Drawn, outcome: Outcome): boolean {
  const { value } = interpret(workflow);
  if (value === undefined) return outcome.kind === "failure" && outcome.message.includes(`"${failingName(workflow)}"`);
  return outcome.kind === "success" && matchesWhole(workflow, value, outcome.value);
}

function failingName(workflow: Drawn): string {
  return (
    /"name":"([^"]+)","queue":"\w+","immutable":\w+,"retries":\d+,"fails":true/.exec(JSON.stringify(workflow))?.[1] ??
    ""
  );
}

function withPrefix(workflow: Drawn, prefix: string): Drawn {
  return JSON.parse(JSON.stringify(workflow), (key, value) => (key === "name" ? prefix + value : value)) as Drawn;
}

/** Calls that ran with other arguments, more than once, or not at all. */
function amiss(answers: readonly Answer[], lines: readonly string[]): readonly string[] {
  const ran = lines.map((line) => JSON.parse(line) as Answer);
  const byName = new Map<string, Answer[]>();
  for (const one of ran) byName.set(one.name, [...(byName.get(one.name) ?? []), one]);
  const problems = answers.flatMap((answer) => {
    const own = byName.get(answer.name) ?? [];
    byName.delete(answer.name);
    if (own.length === 1 && matches(answer, own[0])) return [];
    return [`${answer.name} ran ${own.length} times: ${JSON.stringify(own)}, expected ${JSON.stringify(answer)}`];
  });
  return [...problems, ...[...byName.keys()].map((name) => `${name} was not to run`)];
}

/** A workflow in few words, for whoever reads that it went wrong. */
function write(part: Drawn): string {
  const list = (parts: readonly Drawn[]): string => parts.map(write).join(", ");
  switch (part.kind) {
    case "call": {
      const notes = [
        part.queue.slice(0, 2),
        ...(part.immutable ? ["si"] : []),
        ...(part.retries > 0 ? [`retries ${part.retries}`] : []),
        ...(part.fails ? ["fails"] : []),
        ...(part.becomes ? [`becomes ${write(part.becomes)}`] : []),
        ...(part.links.length > 0 ? [`links ${list(part.links)}`] : []),
      ];
      return `${part.name.split("-").at(-1)}<${notes.join(" ")}>`;
    }
    case "chord":
      return `chord([${list(part.parts)}], ${write(part.body)})`;
    default:
      return `${part.kind}(${list(part.parts)})`;
  }
}
