import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readRevoked, writeRevoked } from "../../src/protocol/hello.ts";
import { isAddressedTo, matchesNode, readControlRequest } from "../../src/protocol/pidbox.ts";
import { root } from "../helpers/build.ts";

const fixture = (name: string) => JSON.parse(readFileSync(join(root, "test", "fixtures", `${name}.json`), "utf8"));
const request = (body: Record<string, unknown>) => readControlRequest({ method: "ping", ...body });

describe("a control request", () => {
  test("is read as Celery sends it", () => {
    const [sent] = fixture("control_ping").decoded.request as [{ body: Record<string, unknown> }];
    expect(readControlRequest(sent.body)).toEqual(sent.body);
  });

  test("needs no more than its method", () => {
    expect(readControlRequest({ method: "ping" })).toEqual({
      method: "ping",
      arguments: {},
      destination: null,
      pattern: null,
      matcher: null,
    });
  });

  test.each([
    [null],
    ["ping"],
    [[1]],
    [{}],
    [{ method: 5 }],
    [{ method: "" }],
    [{ method: "ping", arguments: [1] }],
    [{ method: "ping", destination: 5 }],
    [{ method: "ping", destination: [5] }],
    [{ method: "ping", pattern: {} }],
    [{ method: "ping", reply_to: "me" }],
    [{ method: "ping", reply_to: { exchange: "x" } }],
  ])("%j is none", (body) => {
    expect(() => readControlRequest(body)).toThrow(TypeError);
  });

  test("is for those it names, for those that match, or else for all", () => {
    expect(isAddressedTo(request({}), "w1@host")).toBe(true);
    expect(isAddressedTo(request({ destination: [] }), "w1@host")).toBe(true);
    expect(isAddressedTo(request({ destination: ["w1@host"] }), "w1@host")).toBe(true);
    expect(isAddressedTo(request({ destination: ["w2@host"] }), "w1@host")).toBe(false);
    expect(isAddressedTo(request({ destination: "w1@host,w2@host" }), "w1@host")).toBe(true);
    expect(isAddressedTo(request({ pattern: "w2*" }), "w1@host")).toBe(true);
    expect(isAddressedTo(request({ pattern: "w2*", matcher: "glob" }), "w1@host")).toBe(false);
    expect(isAddressedTo(request({ pattern: "w1*", matcher: "glob" }), "w1@host")).toBe(true);
    expect(isAddressedTo(request({ pattern: "w1", matcher: "glob" }), "w1@host")).toBe(false);
    expect(isAddressedTo(request({ pattern: "w\\d", matcher: "pcre" }), "w1@host")).toBe(true);
    expect(isAddressedTo(request({ pattern: "host", matcher: "pcre" }), "w1@host")).toBe(false);
    expect(isAddressedTo(request({ destination: ["w1@host"], pattern: "x", matcher: "glob" }), "w1@host")).toBe(true);
  });

  test("with a pattern that means nothing or would take for ever is refused in time", () => {
    const begin = performance.now();
    expect(() => matchesNode("w1@host", "(", "pcre")).toThrow(/cannot be matched/);
    expect(() => matchesNode("w1@host", "x", "soundex")).toThrow(/glob or pcre/);
    expect(() => matchesNode(`${"a".repeat(60)}@host`, "(a+)+$", "pcre")).toThrow(/cannot be matched/);
    expect(() => matchesNode("w1@host", "a".repeat(5_000), "glob")).toThrow(/more than 1000/);
    expect(performance.now() - begin).toBeLessThan(5_000);
  });
});

describe("revoked ids between workers", () => {
  const clocks = { now: 1_800_000_000, monotonic: 5_000 };
  const expires = 10_800;

  test("are told by the clock of the machine, with a fraction, and come back as they were", () => {
    const wire = writeRevoked(
      [
        ["a", 1_799_999_000],
        ["b", 1_799_999_999.25],
      ],
      clocks,
    );
    expect(Object.keys(wire)).toEqual(["a", "b"]);
    for (const [at] of Object.values(wire)) expect(Number.isInteger(at)).toBe(false);
    expect(wire.a?.[0]).toBeCloseTo(4_000, 4);
    const back = readRevoked(wire, clocks, expires);
    expect(back.map(([id]) => id)).toEqual(["a", "b"]);
    expect(back[0]?.[1]).toBeCloseTo(1_799_999_000, 3);
  });

  test("are read from what Celery's workers send", () => {
    const [reply] = fixture("mingle_hello").decoded.reply as [{ body: Record<string, { revoked: unknown }> }];
    expect(readRevoked(reply.body["w1@wire"]?.revoked, clocks, expires).map(([id]) => id)).toEqual([
      "aaaa-2",
      "aaaa-3",
    ]);
    const hello = fixture("control_inspect_hello").decoded.request[0].body.arguments.revoked;
    expect(readRevoked(hello, clocks, expires)).toEqual([
      ["rev-1", 1_800_000_000], // by a clock that is ahead of ours
      ["rev-2", 1_799_995_005],
    ]);
  });

  test("of a neighbour whose machine has run for longer or shorter than ours are kept, not forgotten", () => {
    const here = { now: 1_800_000_000, monotonic: 90_000 };
    const wire = { young: [60.5, "young"], old: [5_000_000.5, "old"], near: [89_000.5, "near"] };
    expect(readRevoked(wire, here, expires)).toEqual([
      ["young", 1_800_000_000],
      ["old", 1_800_000_000],
      ["near", 1_799_999_000.5],
    ]);
  });

  test("are left out when they are nonsense", () => {
    expect(readRevoked(null, clocks, expires)).toEqual([]);
    expect(readRevoked("x", clocks, expires)).toEqual([]);
    expect(
      readRevoked({ a: "soon", b: [], c: { d: 1 }, e: Number.NaN, f: 7.5 }, clocks, expires).map(([id]) => id),
    ).toEqual(["f"]);
  });
});
