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

test("the lowest clock wins once all alive have answered; among equals the smaller name", () => {
  const elections = new Elections();
  elections.open("e1");
  for (const one of [stands("b@h", 4), stands("a@h", 5), stands("c@h", 4)]) expect(elections.stands(one)).toBe("e1");
  expect(elections.acknowledged(ack("a@h"), 2)).toBeNull();
  expect(elections.acknowledged(ack("b@h"), 2)).toMatchObject({ id: "e1", winner: { node: "b@h.1", topic: "task" } });
  expect(elections.acknowledged(ack("c@h"), 2)).toBeNull();
});

test("an election this node does not stand in is none of its business", () => {
  const elections = new Elections();
  elections.stands(stands("a@h", 1));
  expect(elections.acknowledged(ack("a@h"), 0)).toBeNull();
  expect(elections.stands({ ...stands("a@h", 1), topic: undefined })).toBeNull();
});
