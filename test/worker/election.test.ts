import { expect, test } from "vitest";
import type { ReceivedEvent } from "../../src/protocol/event.ts";
import { Elections } from "../../src/worker/election.ts";

const stands = (hostname: string, clock: number, pid = 1): ReceivedEvent => ({
  hostname,
  pid,
  clock,
  utcoffset: 0,
  timestamp: 0,
  local_received: 0,
  type: "worker-elect",
  id: "e1",
  topic: "task",
  action: { task: "t" },
});
const ack = (hostname: string): ReceivedEvent => ({ ...stands(hostname, 9), type: "worker-elect-ack" });

test("the lowest clock wins once everybody has answered for each candidate; among equals the smaller name", () => {
  const elections = new Elections();
  elections.open("e1");
  for (const one of [stands("b@h", 4), stands("a@h", 5), stands("c@h", 4)]) expect(elections.stands(one)).toBe("e1");
  const nodes = ["a@h", "b@h", "c@h", "watcher@h"];
  for (const node of [...nodes, ...nodes, "a@h", "b@h", "c@h"]) {
    elections.acknowledged(ack(node));
    expect(elections.settled(nodes)).toEqual([]);
  }
  elections.acknowledged(ack("watcher@h"));
  expect(elections.settled(nodes)).toMatchObject([{ id: "e1", winner: { node: "b@h.1", topic: "task" } }]);
  expect([elections.settled(nodes), elections.overdue("e1")]).toEqual([[], null]);
});

test("a candidate nobody knew has to answer too, and who does not answer in time is not waited for", () => {
  const elections = new Elections();
  elections.open("e1");
  for (const one of [stands("a@h", 5), stands("new@h", 7)]) elections.stands(one);
  for (const node of ["a@h", "a@h"]) elections.acknowledged(ack(node));
  expect(elections.settled(["a@h"])).toEqual([]);
  elections.acknowledged(ack("new@h"));
  expect(elections.overdue("e1")).toMatchObject({ winner: { node: "a@h.1" }, heard: new Set(["a@h", "new@h"]) });
  expect(elections.overdue("e1")).toBeNull();
  // Its own candidature never left this node.
  elections.open("e2");
  expect(elections.overdue("e2")).toBeNull();
});

test("an election this node does not stand in is none of its business", () => {
  const elections = new Elections();
  elections.stands(stands("a@h", 1));
  elections.acknowledged(ack("a@h"));
  expect([elections.settled([]), elections.overdue("e1")]).toEqual([[], null]);
  expect(elections.stands({ ...stands("a@h", 1), topic: undefined })).toBeNull();
});

/** A node as its gossip has it; what it sends goes to everybody, itself included, in order. */
class Voter {
  readonly elections = new Elections();
  readonly winners: string[] = [];
  #held = false;
  #clock: number;
  readonly name: string;
  readonly #send: (event: ReceivedEvent) => void;

  constructor(name: string, clock: number, send: (event: ReceivedEvent) => void) {
    this.name = name;
    this.#clock = clock;
    this.#send = send;
  }

  stand(): void {
    this.elections.open("e1");
    this.#clock += 1;
    this.#send(stands(this.name, this.#clock));
  }

  hear(event: ReceivedEvent, electorate: readonly string[]): void {
    this.#clock = Math.max(this.#clock, event.clock) + 1;
    if (event.type === "worker-elect-ack") this.elections.acknowledged(event);
    else {
      this.elections.stands(event);
      if (this.elections.standing("e1") < 2) this.#held = true;
      else {
        this.endHold();
        this.#acknowledge();
      }
    }
    for (const { winner } of this.elections.settled(electorate)) this.winners.push(winner.hostname);
  }

  /** A second has passed. */
  endHold(): void {
    if (this.#held) this.#acknowledge();
    this.#held = false;
  }

  #acknowledge(): void {
    this.#clock += 1;
    this.#send({ ...ack(this.name), clock: this.#clock });
  }
}

test("in whatever order requests, candidatures and answers arrive, one node wins and all agree on it", () => {
  for (let seed = 1; seed <= 500; seed++) {
    let state = seed;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return (state >>> 8) % below;
    };
    const names = ["a@h", "b@h", "c@h", "d@h"];
    const steps = new Map<string, (() => void)[]>();
    const later = (lane: string, step: () => void): void => void steps.set(lane, [...(steps.get(lane) ?? []), step]);
    const voters = names.map(
      (name): Voter =>
        new Voter(name, random(20), (event) => {
          for (const voter of voters) later(`${name}>${voter.name}`, () => voter.hear(event, names));
        }),
    );
    const standing = voters.slice(0, 1 + random(names.length));
    for (const voter of standing) later(`request ${voter.name}`, () => voter.stand());
    for (;;) {
      const lanes = [...steps.keys()];
      if (lanes.length === 0) {
        // Nothing is under way any more: whoever waits for a second candidate has waited long enough.
        for (const voter of voters) voter.endHold();
        if (steps.size === 0) break;
        continue;
      }
      const lane = lanes[random(lanes.length)] as string;
      const [step, ...rest] = steps.get(lane) as (() => void)[];
      if (rest.length > 0) steps.set(lane, rest);
      else steps.delete(lane);
      step?.();
      if (random(10) === 0) voters[random(voters.length)]?.endHold();
    }
    const [winner] = standing[0]?.winners ?? [];
    expect(
      standing.map(({ name }) => name),
      `seed ${seed}`,
    ).toContain(winner);
    for (const voter of standing) expect(voter.winners, `seed ${seed}`).toEqual([winner]);
  }
});
