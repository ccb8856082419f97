import { expect, test } from "vitest";
import { planSignature } from "../../src/canvas/plan.ts";
import { chain, chord, group, type ResultHandle, type Tq } from "../../src/index.ts";
import { stage, work } from "../helpers/stage.ts";
import { until } from "../helpers/until.ts";

const soon = { timeout: 10 };

function tasksOf(app: Tq) {
  const told: string[] = [];
  return {
    told,
    add: app.task("chords.add", (x: number, y: number) => x + y),
    echo: app.task("chords.echo", (value: unknown) => value),
    fail: app.task("chords.fail", (message: string): number => {
      throw new TypeError(message);
    }),
    note: app.task("chords.note", { bind: true }, (_self, id: string, name: string) => void told.push(`${name} ${id}`)),
  };
}

test("a member that ends in a group stands for a list, in the place of that member", async () => {
  const app = stage();
  const { add, echo } = tasksOf(app);
  work(app);
  const ends = chain(add.s(1, 1), group(add.s(1), add.s(10)));
  expect(await chord([ends, add.s(3, 3), ends.clone()], echo.s()).call([], soon)).toEqual([[3, 12], 6, [3, 12]]);
  const inner = chord([add.s(1, 1), add.s(2, 2)], group(echo.s(), echo.s()));
  expect(await chord([add.s(1, 1), inner], echo.s()).call([], soon)).toEqual([
    2,
    [
      [2, 4],
      [2, 4],
    ],
  ]);
  // As the next step of a chain, sent by a worker; alone, where it is the group; and here and now.
  expect(
    await chain(add.s(1, 1), group(add.s(1), chain(add.s(1), group(add.s(1), add.s(2)))), echo.s()).call([], soon),
  ).toEqual([3, [4, 5]]);
  expect(await chord([ends], echo.s()).call([], soon)).toEqual([3, 12]);
  const eager = stage({ taskAlwaysEager: true });
  const local = tasksOf(eager);
  const whole = chord(
    [chain(local.add.s(1, 1), group(local.add.s(1), local.add.s(10))), local.add.s(3, 3)],
    local.echo.s(),
  );
  expect(await whole.call([], soon)).toEqual([[3, 12], 6]);
});

test("a call of a saved header that was not counted is waited for as long as resultChordJoinTimeout, and no longer", async () => {
  const app = stage({ resultChordJoinTimeout: 0.3 });
  const { add, echo } = tasksOf(app);
  const backend = await app.backend();
  /** Sends a chord whose saved header has one call more than it counts. */
  const send = async (extra: string) => {
    const result = await chord([add.s(1, 1), add.s(2, 2)], echo.s()).delay();
    const [[groupId], members] = (result.parent as ResultHandle).asTuple();
    await backend.saveGroup(groupId, [
      [groupId, null],
      [...(members ?? []), [[extra, null], null]],
    ]);
    return result;
  };
  const known = await add.delay(3, 3);
  const [complete, incomplete] = [await send(known.id), await send("never-sent")];
  const began = Date.now();
  work(app);
  expect(await complete.get(soon)).toEqual([2, 4, 6]);
  await expect(incomplete.get(soon)).rejects.toMatchObject({
    name: "ChordError",
    message: "Join error: TimeoutError('The operation timed out.')",
  });
  expect(Date.now() - began).toBeGreaterThan(250);
});

test("errbacks of a chord go to its header as well only with taskAllowErrorCbOnChordHeader", async () => {
  for (const allowed of [false, true]) {
    const app = stage({ taskAllowErrorCbOnChordHeader: allowed });
    const { add, echo, fail, note, told } = tasksOf(app);
    work(app);
    const composed = chord([add.s(1, 1), fail.s("bad")], echo.s());
    composed.linkError(note.s("composed"));
    const one = await composed.delay();
    await expect(one.get(soon)).rejects.toThrow("bad");
    const member = one.parent?.leaves[1];
    const both = [`composed ${one.id}`, ...(allowed ? [`composed ${member}`] : [])];
    await until(() => told.length === both.length, { message: `${both.length} errbacks` });
    expect([...told].sort()).toEqual([...both].sort());
    // The same of errbacks given with the call, to a chord and to a chain with one in it.
    for (const whole of [
      chord([add.s(1, 1), fail.s("bad")], echo.s()),
      chain(group(add.s(1, 1), fail.s("bad")), echo.s()),
    ]) {
      told.length = 0;
      const called = await whole.applyAsync([], { linkError: note.s("called") });
      await expect(called.get(soon)).rejects.toThrow("bad");
      const names = [`called ${called.id}`, ...(allowed ? [`called ${called.parent?.leaves[1]}`] : [])];
      await until(() => told.length === names.length, { message: `${names.length} errbacks` });
      expect([...told].sort()).toEqual(names.sort());
    }
  }
});

test("errbacks of a chord go to the chords in its header too", async () => {
  const app = stage();
  const { add, echo, fail, note, told } = tasksOf(app);
  work(app);
  const whole = chord([add.s(1, 1), chord([fail.s("bad"), add.s(1, 1)], echo.s())], echo.s());
  whole.linkError(note.s("told"));
  const result = await whole.delay();
  await expect(result.get(soon)).rejects.toThrow();
  await until(() => told.length === 2, { message: "two errbacks" });
  expect([...told].sort()).toEqual([`told ${result.id}`, `told ${result.parent?.leaves[1]}`].sort());
});

test("a group skewed starts its members one after another, the last ones together at the stop", () => {
  const app = stage();
  const { add } = tasksOf(app);
  const ten = () => group(Array.from({ length: 10 }, (_, n) => add.s(n, n)));
  let last = 0;
  const countdowns = (signature: ReturnType<typeof ten>) =>
    planSignature(signature.toJSON(), { newId: () => `id-${++last}` }).calls.map(({ options }) => options.countdown);
  const skewed = ten();
  expect(skewed.skew(1, 10)).toBe(skewed);
  expect(countdowns(skewed)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  expect(countdowns(ten().skew())).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  expect(countdowns(ten().skew(0, null, 0.5))).toEqual([0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5]);
  expect(countdowns(ten().skew(5, 7))).toEqual([5, 6, 7, 7, 7, 7, 7, 7, 7, 7]);
});
