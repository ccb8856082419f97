import { expect, test } from "vitest";
import { enoughInHand, prefetchCount, reducedPrefetch, waitingRoom } from "../../src/worker/prefetch.ts";

test.each([
  // slots, multiplier, disabled, window, room for what waits
  [4, 4, false, 16, 4],
  [1, 4, false, 4, 1],
  [8, 1, false, 8, 0],
  [4, 0, false, 0, 333],
  [4, 4, true, 4, 0],
  [4, 0, true, 4, 0],
  // A pool that is still empty takes something at least; more than AMQP can count is no bound.
  [0, 4, false, 1, 0],
  [20_000, 4, false, 0, 333],
])("%i slots by %i, disabled %s: %i messages, %i of which may wait", (slots, multiplier, disabled, window, room) => {
  expect(prefetchCount({ slots, multiplier, disabled })).toBe(window);
  expect(waitingRoom({ slots, multiplier, disabled })).toBe(room);
});

test("nothing is put off where the window is no wider than the slots", () => {
  for (const slots of [1, 2, 8, 100]) {
    const input = { slots, multiplier: 1, disabled: false };
    expect(enoughInHand(input)).toBeGreaterThan(prefetchCount(input));
    expect(enoughInHand(input)).toBeLessThan(prefetchCount({ ...input, multiplier: 4 }));
  }
});
test.each([
  // bound, tasks that run, multiplier, bound after the reconnect
  [16, 1, 4, 12],
  [16, 3, 4, 4],
  [16, 9, 4, 4],
  [8, 0, 4, 8],
  [0, 3, 4, 0],
  [3, 3, 1, 1],
])(
  "of %i messages, with %i tasks at work that take %i each, %i are held after a reconnect",
  (max, active, multiplier, count) => {
    expect(reducedPrefetch(max, active, multiplier)).toBe(count);
  },
);
