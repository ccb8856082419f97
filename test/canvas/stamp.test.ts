import { expect, test } from "vitest";
import { createChain } from "../../src/canvas/chain.ts";
import { createChord } from "../../src/canvas/chord.ts";
import { createGroup } from "../../src/canvas/group.ts";
import { type StampingVisitor, stampSignature } from "../../src/canvas/stamp.ts";
import type { SignatureDict } from "../../src/protocol/signature.ts";
import { task } from "./golden.ts";

/** Stamps by the name of the call, of all calls in a signature, callbacks and errbacks among them. */
function stampsOf(signature: SignatureDict): Record<string, Record<string, unknown>> {
  const found: Record<string, Record<string, unknown>> = {};
  JSON.stringify(signature, (_, value) => {
    if (value !== null && typeof value === "object" && "subtask_type" in value && value.subtask_type === null) {
      const { options, task: name } = value as SignatureDict;
      const names = (options.stamped_headers ?? []) as string[];
      found[name.replace("wt.", "")] = Object.fromEntries(names.map((one) => [one, options[one]]));
    }
    return value;
  });
  return found;
}

const workflow = createChain([
  task("first", [], { link: [task("linked")], link_error: [task("failed")] }),
  createChord([task("one"), createGroup([task("two")])], task("body")),
]);

test("a stamp for the whole is on every call, on callbacks and errbacks too", () => {
  const stamps = stampsOf(stampSignature(workflow, { id: "m-1" }));
  expect(Object.keys(stamps).sort()).toEqual(["body", "failed", "first", "linked", "one", "two"]);
  for (const own of Object.values(stamps)) expect(own).toEqual({ id: "m-1" });
});

test("a visitor sees each part in order, and what it gives is on what is in that part", () => {
  const seen: string[] = [];
  const note =
    (name: string) =>
    (part: SignatureDict): { [name]: string } | undefined => {
      seen.push(`${name} ${part.task.replace(/^(wt|celery)\./, "")}`);
      return { [name]: part.task } as never;
    };
  const end = (name: string) => (part: SignatureDict) => void seen.push(`${name} ${part.task.replace("celery.", "")}`);
  const visitor: StampingVisitor = {
    onSignature: note("signature"),
    onGroupStart: note("group"),
    onGroupEnd: end("end of"),
    onChainStart: note("chain"),
    onChainEnd: end("end of"),
    onChordHeaderStart: note("header"),
    onChordHeaderEnd: end("end of header of"),
    onChordBody: note("body"),
    onCallback: note("callback"),
    onErrback: note("errback"),
  };
  const stamps = stampsOf(stampSignature(workflow, {}, { visitor }));
  expect(seen).toEqual([
    "chain chain",
    "callback linked",
    "signature linked",
    "errback failed",
    "signature failed",
    "signature first",
    "header chord",
    "signature one",
    "group group",
    "signature two",
    "end of group",
    "end of header of chord",
    "body chord",
    "signature body",
    "end of chain",
  ]);
  expect(Object.keys(stamps.two ?? {}).sort()).toEqual(["chain", "group", "header", "signature"]);
  expect(Object.keys(stamps.linked ?? {}).sort()).toEqual(["callback", "chain", "signature"]);
  expect(Object.keys(stamps.body ?? {}).sort()).toEqual(["body", "chain", "header", "signature"]);
});

test("without a word on headers of chords a visitor of groups sees them; only named stamps are stamps", () => {
  const groups: string[] = [];
  const visitor: StampingVisitor = {
    onGroupStart: (group) => {
      groups.push(group.task);
      return undefined;
    },
    onSignature: () => ({ kept: 1, queue: "fast", stamped_headers: ["kept"] }),
  };
  const stamped = stampSignature(createChord([task("one")], task("body")), {}, { visitor });
  expect(groups).toEqual(["celery.group"]);
  expect(stampsOf(stamped)).toEqual({ one: { kept: 1 }, body: { kept: 1 } });
  expect(JSON.stringify(stamped)).toContain('"queue":"fast"');
});

test("a stamp that is there is replaced, or kept, or joined by the new one", () => {
  const stamped = stampSignature(task("a"), { id: "old" });
  const again = (options: object) => stampsOf(stampSignature(stamped, { id: "new", more: 1 }, options)).a;
  expect(again({})).toEqual({ id: "new", more: 1 });
  expect(again({ keep: true })).toEqual({ id: "old", more: 1 });
  expect(again({ append: true })).toEqual({ id: ["old", "new"], more: 1 });
  const twice = stampSignature(
    stampSignature(stamped, { id: "new" }, { append: true }),
    { id: ["new", "third"] },
    { append: true },
  );
  expect(stampsOf(twice).a).toEqual({ id: ["old", "new", "third"] });
});
