import { describe, expect, test } from "vitest";
import { bindArguments, declaredParameters, readParameters } from "../../src/task/parameters.ts";

const read = (source: string, skip = 0) => readParameters(new Function(`return (${source})`)() as () => unknown, skip);

describe("reading a function's parameters", () => {
  test.each([
    ["(x, y) => x + y", ["x", "y"], 2],
    ["x => x", ["x"], 1],
    ["async x => x", ["x"], 1],
    ["function add(x, y = 2) {}", ["x", "y"], 1],
    ["async function (a /* , b */, c) {}", ["a", "c"], 2],
    ["(a = ')', b = [1, (2, 3)], c = { d: ',' }) => 0", ["a", "b", "c"], 0],
    ["(a = () => 1, b) => 0", ["a", "b"], 0],
    ["() => 0", [], 0],
    ["(a, [b, c]) => 0", ["a", null], 2],
  ])("%s", (source, names, required) => {
    expect(read(source)).toMatchObject({ names, required, rest: false, keywords: false });
  });

  test("a rest parameter takes any number", () => {
    expect(read("(x, ...rest) => 0")).toMatchObject({ names: ["x"], required: 1, rest: true });
  });

  test("a last object pattern takes keyword arguments", () => {
    expect(read("(x, { debug = false } = {}) => 0")).toMatchObject({ names: ["x"], required: 1, keywords: true });
  });

  test("the running task of a bound function is not a parameter of the call", () => {
    expect(read("(self, to) => 0", 1)).toMatchObject({ names: ["to"], required: 1 });
  });

  test("declared names win, and a question mark makes one optional", () => {
    expect(declaredParameters(["x", "y?"])).toEqual({ names: ["x", "y"], required: 1, rest: false, keywords: false });
  });
});

describe("binding arguments", () => {
  const add = read("(x, y) => 0");

  test("positional arguments pass through as they are", () => {
    const args = [1, 2];
    expect(bindArguments("proj.add", add, args, {})).toBe(args);
  });

  test("keyword arguments go to the parameter of their name", () => {
    expect(bindArguments("proj.add", add, [1], { y: 2 })).toEqual([1, 2]);
    expect(bindArguments("proj.add", add, [], { y: 2, x: 1 })).toEqual([1, 2]);
  });

  test("an optional parameter that is not given stays undefined, so that its default applies", () => {
    const bound = bindArguments("f", read("(a, b = 5, c = 6) => 0"), [1], { c: 3 });
    expect(((a: number, b = 5, c = 6) => [a, b, c])(...(bound as [number]))).toEqual([1, 5, 3]);
  });

  test.each([
    [[1], {}, "add() missing 1 required positional argument: 'y'"],
    [[], {}, "add() missing 2 required positional arguments: 'x' and 'y'"],
    [[1, 2, 3], {}, "add() takes 2 positional arguments but 3 were given"],
    [[1, 2], { z: 3 }, "add() got an unexpected keyword argument 'z'"],
    [[1, 2], { x: 3 }, "add() got multiple values for argument 'x'"],
    [[1, 2], { __proto__x: 1 }, "add() got an unexpected keyword argument '__proto__x'"],
  ])("%j %j is refused as Python would", (args, kwargs, message) => {
    expect(() => bindArguments("proj.add", add, args, kwargs)).toThrow(message);
  });

  test("what fits no name goes to the object pattern, and so does nothing", () => {
    const keywords = read("(x, { debug, level }) => 0");
    expect(bindArguments("f", keywords, [1], { debug: true, level: 2 })).toEqual([1, { debug: true, level: 2 }]);
    expect(bindArguments("f", keywords, [1], {})).toEqual([1, {}]);
    expect(bindArguments("f", keywords, [], { x: 1, debug: true })).toEqual([1, { debug: true }]);
  });

  test("a key named __proto__ in keyword arguments changes nothing but an own property", () => {
    const kwargs = JSON.parse('{"__proto__": {"polluted": true}}') as Record<string, unknown>;
    const [, gathered] = bindArguments("f", read("(x, { a }) => 0"), [1], kwargs) as [number, Record<string, unknown>];
    expect(Object.getPrototypeOf(gathered)).toBe(Object.prototype);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});
