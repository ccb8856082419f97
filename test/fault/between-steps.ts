import { existsSync, readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import { createChord } from "../../src/canvas/chord.ts";
import { planSignature } from "../../src/canvas/plan.ts";
import { Tq } from "../../src/index.ts";
import type { SignatureDict } from "../../src/protocol/signature.ts";
import { root } from "../helpers/build.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker, type WorkerHandle } from "../helpers/worker.ts";
import type { Stop } from "./steps.ts";

type Environment = Readonly<Record<"TQ_BROKER_URL" | "TQ_RESULT_BACKEND", string>>;

/** One way to keep messages and results, and how to stop a worker that hands over there. */
export interface Place {
  readonly name: string;
  readonly env: Environment;
  /**
   * The steps of each story there is to tell. A step that is one transaction may name its parts, with
   * ` + ` between them: the worker is stopped before each.
   */
  readonly stories: Partial<Record<StoryName, readonly string[]>>;
  /** Whether tasks are acknowledged when they begin. */
  readonly early?: boolean;
  /** Whether steps have parts, before which it stops. */
  readonly inside?: boolean;
  /** Of a chord, whether the worker is also killed while it deals with the members before the last. */
  readonly allMembers?: boolean;
  /**
   * Ready to stop a worker that is yet to be started, on its way through the story whose ids begin with
   * `mark`: before the step at `cut`, or in it, before this part. Several may be asked for at once.
   */
  stop(steps: readonly string[], cut: number, mark: string, part?: string): Promise<Stop>;
}

/** What is told of: a task or two in a queue only the doomed worker consumes, and what follows elsewhere. */
interface Story {
  /** Messages the doomed worker gets in the end, when nobody kills it. */
  readonly messages: number;
  /** Names of all that follow, each to be called once. */
  readonly followers: readonly string[];
  /** Every result there is to be, with its state. */
  readonly results: Readonly<Record<string, "SUCCESS" | "FAILURE">>;
  send(app: Tq, kit: StoryKit): Promise<unknown>;
}

interface StoryKit {
  /** The id of what has this name in the story. */
  id(name: string): string;
  /** A call in the doomed worker's queue. */
  task(kind: string, name: string, options?: Record<string, unknown>): SignatureDict;
  /** A call of what follows. */
  follower(name: string, options?: Record<string, unknown>): SignatureDict;
}

const sendChord = (kind: "step" | "fails", ended: "link" | "link_error") => async (app: Tq, kit: StoryKit) => {
  const links = { link: [kit.follower("link")] };
  const header = [kit.task("step", "one"), kit.task(kind, "two", ended === "link" ? links : {})];
  const errback = { link_error: [kit.follower("errback")] };
  const body = kit.follower("body", ended === "link" ? {} : errback);
  await app.sender.sendPlan(planSignature(createChord(header, body), { newId: () => crypto.randomUUID() }));
};

const stories = {
  "a success with a callback and a next step": {
    messages: 1,
    followers: ["link", "next"],
    results: { task: "SUCCESS", link: "SUCCESS", next: "SUCCESS" },
    send: (app, { task, follower }) =>
      app.sender.send(callOf(task("step", "task", { link: [follower("link")], chain: [follower("next")] }))),
  },
  "a failure with an errback and a next step": {
    messages: 1,
    followers: ["errback"],
    results: { task: "FAILURE", rest: "FAILURE", errback: "SUCCESS" },
    send: (app, { task, follower }) =>
      app.sender.send(callOf(task("fails", "task", { link_error: [follower("errback")], chain: [follower("rest")] }))),
  },
  "a retry, and the success it comes to": {
    messages: 2,
    followers: ["link"],
    results: { task: "SUCCESS", link: "SUCCESS" },
    send: (app, { task, follower }) => app.sender.send(callOf(task("again", "task", { link: [follower("link")] }))),
  },
  "the members of a chord": {
    messages: 2,
    followers: ["link", "body"],
    results: { one: "SUCCESS", two: "SUCCESS", link: "SUCCESS", body: "SUCCESS" },
    send: sendChord("step", "link"),
  },
  "the members of a chord of which the last fails": {
    messages: 2,
    followers: ["errback"],
    results: { one: "SUCCESS", two: "FAILURE", body: "FAILURE", errback: "SUCCESS" },
    send: sendChord("fails", "link_error"),
  },
} satisfies Record<string, Story>;

export type StoryName = keyof typeof stories;

function callOf({ task, args, kwargs, options }: SignatureDict) {
  return { task, args, kwargs, options };
}

/** What is done to a place by one worker that is killed between two steps, and by its heir. */
interface Killing {
  readonly story: StoryName;
  readonly steps: readonly string[];
  readonly cut: number;
  /** Of the step at the cut, where the place can be stopped within one. */
  readonly part?: string;
  readonly mark: string;
  surprises: readonly string[];
  states: Record<string, string>;
}

/** Doomed workers at once: each start takes a core for a moment. */
const atOnce = 3;

/**
 * A worker is killed, children and all, exactly between two steps of a hand-over, for any two there
 * are; another one takes over. Nothing may be missing then, and nothing done twice but what was sent
 * to another server than the one that still had the task.
 */
export function killedBetweenSteps(
  open: () => Promise<Pick<Place, "env" | "stop"> & AsyncDisposable>,
  plan: Omit<Place, "env" | "stop">,
): void {
  describe(`on ${plan.name}, a worker killed`, () => {
    const killings = Object.entries(plan.stories)
      .flatMap(([story, steps]) => cutsOf(steps, plan).map((cut) => ({ story: story as StoryName, steps, ...cut })))
      .map((killing, index): Killing => ({ ...killing, mark: `q${index}`, surprises: [], states: {} }));
    let ran: () => readonly string[] = () => [];
    const runsOf = (mark: string, name: string): number => ran().filter((id) => id === `${mark}.${name}`).length;

    beforeAll(async () => {
      await using folder = await temporaryFolder();
      await using place = await open();
      const told = folder.file("told");
      ran = () => (existsSync(told) ? readFileSync(told, "utf8").split("\n").filter(Boolean) : []);
      const env = { TQ_TELL: told, TQ_EARLY: plan.early ? "1" : "", TQ_RETRIES: "1" };
      const app = new Tq("handing", { broker: place.env.TQ_BROKER_URL, backend: place.env.TQ_RESULT_BACKEND });
      const launch = (more: Readonly<Record<string, string>>, queue: string, concurrency: number): WorkerHandle =>
        startWorker({
          app: `${root}/test/apps/handing.ts`,
          env: { ...more, ...env },
          args: ["-c", String(concurrency), "-Q", queue, "-n", `${queue}@test`, "--without-mingle", "--without-gossip"],
        });
      const heir = launch(place.env, "next", 2);
      try {
        const backend = await app.backend();
        await Promise.all([heir.ready(), backend.prepare()]);
        await inTurns(killings, atOnce, async (killing) => {
          const { mark, steps, cut } = killing;
          const story: Story = stories[killing.story];
          await using stop = await place.stop(steps, cut, mark, killing.part);
          const doomed = launch(stop.env, mark, 1);
          try {
            await doomed.ready();
            await stop.arm?.();
            await story.send(app, kitOf(mark, backend.replyTo));
            await Promise.race([stop.reached, lateness(`${mark}: ${steps[cut]}`, stop, doomed)]);
          } finally {
            await doomed.kill9Group();
          }
          killing.surprises = stop.surprises;
        });
        const taking = killings.map(async ({ mark }) => {
          await app.control.addConsumer(mark, { destination: "next@test", reply: true, timeout: 20 });
        });
        await Promise.all(taking);
        await Promise.all(
          killings.map(async (killing) => {
            const { mark, story, steps, cut } = killing;
            const { results, messages }: Story = stories[story];
            const lost = expectedOf(killing, plan.early).lost;
            const ids = Object.keys(results)
              .filter((name) => !lost.includes(name))
              .map((name) => `${mark}.${name}`);
            for await (const meta of backend.watch(ids, { signal: AbortSignal.timeout(40_000) }))
              killing.states[meta.task_id.slice(mark.length + 1)] = meta.status;
            const ended = steps.slice(0, cut).filter(isEnd).length;
            const again = plan.early || ended === messages ? 0 : 1;
            const names = Object.keys(results).filter((name) => ["task", "one", "two"].includes(name));
            const runs = (): number => names.reduce((sum, name) => sum + runsOf(mark, name), 0);
            await until(() => runs() >= messages + again, { timeout: 30, message: `${mark} to be run again` });
          }),
        );
        // What is done twice comes with the rest: nothing is left, and nobody is at work.
        const inspect = app.control.inspect({ destination: "next@test", timeout: 10 });
        await until(async () => {
          const [active, reserved] = await Promise.all([inspect.active(), inspect.reserved()]);
          return active?.["next@test"]?.length === 0 && reserved?.["next@test"]?.length === 0;
        });
        const lines = ran();
        ran = () => lines;
      } catch (error) {
        throw new Error(`${String(error)}\n${heir.output.slice(-3000)}`, { cause: error });
      } finally {
        await heir.kill9Group();
        await app.close();
      }
    }, 180_000);

    for (const killing of killings) {
      const { story, steps, cut, part, mark } = killing;
      const when = cut === steps.length ? "when all is done" : `before it ${part ?? steps[cut]}`;
      test(`${when}, ${cut} of ${steps.length} steps made, of ${story}`, () => {
        const { followers, results }: Story = stories[story];
        const { runs, lost } = expectedOf(killing, plan.early);
        expect(killing.surprises).toEqual([]);
        expect(Object.fromEntries(followers.map((name) => [name, runsOf(mark, name)]))).toEqual(runs);
        expect(killing.states).toEqual(
          Object.fromEntries(Object.entries(results).filter(([name]) => !lost.includes(name))),
        );
      });
    }
  });
}

/** How often what follows is to have run, and which results cannot be there. */
function expectedOf(
  { story, steps, cut }: Killing,
  early = false,
): { readonly runs: Readonly<Record<string, number>>; readonly lost: readonly string[] } {
  const { followers, results }: Story = stories[story];
  const made = steps.slice(0, cut);
  if (early && cut > 0) {
    // Nobody runs it again: what had left runs, once.
    const left = (name: string): boolean => made.includes(`sends ${name}`);
    const lost = Object.keys(results).filter((name) => !left(name) && !made.includes(`stores ${name}`));
    return { runs: Object.fromEntries(followers.map((name) => [name, left(name) ? 1 : 0])), lost };
  }
  const end = made.findLastIndex(isEnd);
  // Of the task that is run again.
  const half = cut === steps.length ? [] : made.slice(end + 1);
  const runsOf = (name: string): number => {
    if (name === "body" && half.includes("forgets the chord")) return 1;
    return half.includes(`sends ${name}`) || half.includes("sends task") ? 2 : 1;
  };
  return { runs: Object.fromEntries(followers.map((name) => [name, runsOf(name)])), lost: [] };
}

/** Of a message. */
const isEnd = (step: string): boolean => step.includes("acknowledges") || step === "hands over";

/** Everywhere between two steps, before the first, and when all is done; or before each part of each step. */
function cutsOf(
  steps: readonly string[],
  { inside = false, allMembers = false }: Pick<Place, "inside" | "allMembers">,
): { readonly cut: number; readonly part?: string }[] {
  const first = steps.includes("counts one") && !allMembers ? steps.findIndex(isEnd) + 1 : 0;
  const cuts = inside
    ? steps.flatMap((step, cut) => step.split(" + ").map((part) => ({ cut, part })))
    : Array.from({ length: steps.length + 1 }, (_, cut) => ({ cut }));
  return cuts.filter(({ cut }) => cut >= first);
}

function kitOf(mark: string, replyTo: string): StoryKit {
  const reply = replyTo === "" ? {} : { reply_to: replyTo };
  const id = (name: string): string => `${mark}.${name}`;
  const call = (kind: string, name: string, queue: string, options: Record<string, unknown>): SignatureDict => ({
    task: `handing.${kind}`,
    args: kind === "next" ? [] : [1],
    kwargs: {},
    options: { task_id: id(name), queue, ...reply, ...options },
    subtask_type: null,
    immutable: false,
  });
  return {
    id,
    task: (kind, name, options = {}) => call(kind, name, mark, options),
    follower: (name, options = {}) => call("next", name, "next", options),
  };
}

async function lateness(what: string, stop: Stop, worker: WorkerHandle): Promise<never> {
  await new Promise((resolve) => setTimeout(resolve, 20_000).unref());
  throw new Error(`not reached, ${what}; unexpected: ${stop.surprises.join(", ")}\n${worker.output.slice(-2000)}`);
}

async function inTurns<Item>(
  items: readonly Item[],
  width: number,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const waiting = [...items];
  const line = async (): Promise<void> => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: width }, line));
}
