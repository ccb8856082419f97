import { setTimeout as sleep } from "node:timers/promises";
import { childrenOf, isAlive } from "../../test/helpers/child.ts";
import { until } from "../../test/helpers/until.ts";
import type { Crew, Member } from "./crew.ts";
import type { Dice } from "./dice.ts";
import type { Run } from "./ledger.ts";
import type { Site } from "./site.ts";

/** What a fault has left behind: from when on, and by which runs, recovery shows. One run for each is awaited. */
export interface Aftermath {
  /** Milliseconds since 1970: from here on everybody could work again. */
  readonly healed: number;
  readonly signs: readonly ((run: Run) => boolean)[];
}

export interface Scene {
  readonly site: Site;
  readonly crew: Crew;
  readonly dice: Dice;
}

export interface Fault {
  readonly name: string;
  /** How often it is chosen, against the others; 1 when left out. */
  readonly weight?: number;
  /** Whether it can be done here. */
  readonly fits: (site: Site) => boolean;
  readonly strike: (scene: Scene) => Promise<Aftermath>;
}

const always = (): boolean => true;
const linked = ({ link }: Site): boolean => link !== undefined;
const owned = ({ server }: Site): boolean => server !== undefined;

const by =
  ({ host }: Member) =>
  (run: Run): boolean =>
    run.host === host;

/** Every worker there is must be seen to work again. */
const allOf = (crew: Crew, healed = Date.now()): Aftermath => ({ healed, signs: crew.members.map(by) });

/** What happens to the processes of workers. */
export const processFaults: readonly Fault[] = [
  {
    name: "a child is killed",
    weight: 2,
    fits: always,
    async strike({ crew, dice }) {
      const member = crew.anyone(dice);
      const children = childrenOf(member.pid);
      const victim = dice.pick(children);
      if (victim !== undefined) kill(victim, "SIGKILL");
      return { healed: Date.now(), signs: [(run) => run.host === member.host && !children.includes(run.pid)] };
    },
  },
  {
    name: "a worker is killed with its children",
    weight: 2,
    fits: always,
    async strike({ crew, dice }) {
      const member = crew.anyone(dice);
      await member.handle.kill9Group();
      const healed = Date.now();
      return { healed, signs: [by(await crew.replace(member))] };
    },
  },
  {
    name: "a worker's main process is killed",
    weight: 2,
    fits: always,
    async strike({ crew, dice }) {
      const member = crew.anyone(dice);
      const children = childrenOf(member.pid);
      kill(member.pid, "SIGKILL");
      const healed = Date.now();
      await until(() => children.every((pid) => !isAlive(pid)), {
        timeout: 10,
        message: `the children of ${member.host} to end with it`,
      });
      return { healed, signs: [by(await crew.replace(member))] };
    },
  },
  {
    name: "a worker is frozen with its children, and thawed",
    fits: always,
    async strike({ crew, dice }) {
      const member = crew.anyone(dice);
      member.handle.signalGroup("SIGSTOP");
      await sleep(dice.between(500, 8_000));
      member.handle.signalGroup("SIGCONT");
      return { healed: Date.now(), signs: [by(member)] };
    },
  },
  {
    name: "a child is frozen, and thawed",
    fits: always,
    async strike({ crew, dice }) {
      const member = crew.anyone(dice);
      const victim = dice.pick(childrenOf(member.pid));
      if (victim !== undefined) kill(victim, "SIGSTOP");
      await sleep(dice.between(200, 2_000));
      if (victim !== undefined) kill(victim, "SIGCONT");
      return { healed: Date.now(), signs: [by(member)] };
    },
  },
  {
    name: "a worker is stopped (TERM), and another started",
    fits: always,
    strike: (scene) => stopped(scene, "SIGTERM"),
  },
  {
    name: "a worker is stopped cold (QUIT), and another started",
    fits: always,
    strike: (scene) => stopped(scene, "SIGQUIT"),
  },
];

async function stopped({ crew, dice }: Scene, signal: "SIGTERM" | "SIGQUIT"): Promise<Aftermath> {
  const member = crew.anyone(dice);
  member.handle.signal(signal);
  const { code } = await member.handle.exited;
  if (code !== 0)
    throw new Error(`${member.host} ended with ${code} after ${signal}:\n${member.handle.output.slice(-2000)}`);
  const healed = Date.now();
  return { healed, signs: [by(await crew.replace(member))] };
}

/** What happens between workers and broker. */
export const networkFaults: readonly Fault[] = [
  {
    name: "the network is cut",
    fits: linked,
    async strike({ site, crew, dice }) {
      site.link?.cut();
      await sleep(dice.between(100, 2_500));
      site.link?.restore();
      return allOf(crew);
    },
  },
  {
    name: "every connection is reset",
    fits: linked,
    async strike({ site, crew }) {
      site.link?.reset();
      return allOf(crew);
    },
  },
  {
    name: "the network stalls",
    fits: linked,
    async strike({ site, crew, dice }) {
      site.link?.stall();
      await sleep(dice.between(500, 6_000));
      site.link?.restore();
      return allOf(crew);
    },
  },
  {
    name: "the network swallows everything",
    fits: linked,
    async strike({ site, crew, dice }) {
      site.link?.blackHole();
      await sleep(dice.between(500, 4_000));
      site.link?.restore();
      return allOf(crew);
    },
  },
  {
    name: "answers are swallowed",
    fits: linked,
    async strike({ site, crew, dice }) {
      site.link?.mute();
      await sleep(dice.between(200, 2_000));
      site.link?.restore();
      return allOf(crew);
    },
  },
  {
    name: "connections are half open",
    fits: linked,
    async strike({ site, crew }) {
      site.link?.forget();
      return allOf(crew);
    },
  },
];

/** What happens to the broker itself. */
export const brokerFaults: readonly Fault[] = [
  {
    name: "the broker is killed, and started again",
    fits: owned,
    async strike({ site, crew, dice }) {
      await site.server?.kill();
      await sleep(dice.between(0, 1_000));
      await site.server?.restart();
      return allOf(crew);
    },
  },
  {
    name: "the broker is frozen, and thawed",
    fits: owned,
    async strike({ site, crew, dice }) {
      site.server?.signal("SIGSTOP");
      await sleep(dice.between(300, 3_000));
      site.server?.signal("SIGCONT");
      return allOf(crew);
    },
  },
];

/** What a broker does to its clients. */
export const clientFaults: readonly Fault[] = [
  {
    name: "CLIENT KILL of all connections",
    fits: ({ redis }) => redis !== undefined,
    async strike({ site, crew }) {
      await site.redis?.("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES");
      await site.redis?.("CLIENT", "KILL", "TYPE", "PUBSUB");
      return allOf(crew);
    },
  },
  {
    name: "DEBUG SLEEP",
    fits: ({ redis }) => redis !== undefined,
    async strike({ site, crew, dice }) {
      await site.redis?.("DEBUG", "SLEEP", dice.between(0.5, 3).toFixed(1));
      return allOf(crew);
    },
  },
  {
    name: "a read-only replica",
    fits: ({ redis }) => redis !== undefined,
    async strike({ site, crew, dice }) {
      // Of a master that is nowhere: it keeps what it has and takes nothing.
      await site.redis?.("REPLICAOF", "127.0.0.1", "1");
      await sleep(dice.between(300, 2_000));
      await site.redis?.("REPLICAOF", "NO", "ONE");
      return allOf(crew);
    },
  },
  {
    name: "an error of all connections",
    fits: ({ rabbit }) => rabbit !== undefined,
    async strike({ site, crew }) {
      await site.rabbit?.(
        '[rabbit_networking:close_connection(P, <<"chaos">>) || P <- rabbit_networking:local_connections()].',
      );
      return allOf(crew);
    },
  },
  {
    name: "an error of all channels",
    fits: ({ rabbit }) => rabbit !== undefined,
    async strike({ site, crew }) {
      await site.rabbit?.(
        "[P ! {channel_exit, N, {amqp_error, precondition_failed, \"chaos\", 'basic.ack'}} " +
          "|| P <- rabbit_networking:local_connections(), N <- [1, 2, 3]].",
      );
      return allOf(crew);
    },
  },
];

/** What a run is made of. */
export const profiles = {
  /** Children, workers and broker killed, stopped and cut off. */
  all: [...processFaults, ...brokerFaults, ...networkFaults],
  /** Connections lost in every way they can be. */
  connection: [...(brokerFaults.slice(0, 1) as Fault[]), ...networkFaults, ...clientFaults],
} as const satisfies Record<string, readonly Fault[]>;

export type Profile = keyof typeof profiles;

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone meanwhile.
  }
}
