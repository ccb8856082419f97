import { expect, test } from "vitest";
import { type ChaosOptions, runChaos } from "../../bench/chaos/chaos.ts";
import { describeWith, type ServiceName } from "../helpers/services.ts";

/** A short share of `npm run chaos`, always the same one. */
const ordeals: readonly (readonly [name: string, needs: readonly ServiceName[], all: readonly ChaosOptions[]])[] = [
  ["the embedded store", [], [{ kind: "sqlite", tasks: 500, faults: 4, seed: 3 }]],
  [
    "Redis",
    ["redis-server"],
    [
      { kind: "redis", tasks: 500, faults: 3, seed: 5 },
      { kind: "redis", profile: "connection", tasks: 600, faults: 7, seed: 1 },
    ],
  ],
  [
    "RabbitMQ",
    ["rabbitmq-server"],
    [
      { kind: "amqp", tasks: 500, faults: 3, seed: 5 },
      { kind: "amqp", profile: "connection", tasks: 600, faults: 7, seed: 1 },
    ],
  ],
];

for (const [name, needs, all] of ordeals) {
  describeWith(needs, `chaos over ${name}`, () => {
    for (const options of all) {
      test.concurrent(`loses nothing, and everybody is soon back at work (${options.profile ?? "all"})`, async (context) => {
        const verdict = await runChaos(options);
        const told = verdict.faults.map(({ name: what, recovery }) => `${recovery.toFixed(2)} s ${what}`);
        context.annotate(`took ${verdict.seconds.toFixed(1)} s; ${told.join("; ")}`);
        expect(verdict.lost, verdict.log).toEqual([]);
        expect(verdict.dead, verdict.log).toBe(0);
        expect(verdict.sent).toBeGreaterThanOrEqual(options.tasks);
        expect(verdict.faults).toHaveLength(options.faults);
        // Told generously: the machine runs other tests beside this one.
        expect(verdict.p99, told.join("\n")).toBeLessThanOrEqual(20);
      }, 150_000);
    }
  });
}
