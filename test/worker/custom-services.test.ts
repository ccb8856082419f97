import { describe, expect, test } from "vitest";
import type { ServiceHost, WorkerService } from "../../src/app/services.ts";
import { placeServices } from "../../src/worker/custom-services.ts";

const own = ["connection", "events", "pool", "consumer"].map((name) => ({
  name,
  start: async () => undefined,
  stop: async () => undefined,
}));
const host = {} as ServiceHost;
const order = (...custom: readonly WorkerService[]): string =>
  placeServices(own, custom, host)
    .map(({ name }) => name)
    .join(" ");

describe("services of the user's own", () => {
  test("start last unless they say otherwise, in the order they were added", () => {
    expect(order({ name: "a" }, { name: "b" })).toBe("connection events pool consumer a b");
  });
  test("stand after and before those they name, the worker's and each other", () => {
    expect(order({ name: "a", after: "connection" })).toBe("connection a events pool consumer");
    expect(order({ name: "a", before: "pool" })).toBe("connection events a pool consumer");
    expect(order({ name: "a", after: "b" }, { name: "b", after: "events", before: ["consumer"] })).toBe(
      "connection events pool b a consumer",
    );
  });
  test("are refused when they name nobody, or contradict each other", () => {
    expect(() => order({ name: "a", after: "nobody" })).toThrow(
      /service a: there is no service nobody; there are conn/,
    );
    expect(() => order({ name: "a", after: "b" }, { name: "b", after: "a" })).toThrow(/a, b cannot be ordered/);
    expect(() => order({ name: "a", after: "consumer", before: "events" })).toThrow(/cannot be ordered/);
  });
});
