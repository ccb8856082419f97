// Celery's guide "Calling" in TypeScript. A worker of proj runs: npx tq -A proj worker -l INFO
import { randomUUID } from "node:crypto";
import { group, OperationalError, Tq } from "tq";
import { app } from "./proj/app.ts";
import { add, concat, errorHandler, hello, mul } from "./proj/tasks.ts";

// Three ways
console.log(await (await add.delay(2, 2)).get());
console.log(await (await add.applyAsync([2], { kwargs: { y: 2 }, taskId: `my-own-${randomUUID()}` })).get());
console.log(await (await app.sendTask("proj.tasks.add", [2, 2])).get());

// Linking: callbacks get the result first, errbacks are told of the error
const linked = await add.applyAsync([2, 2], { link: add.s(16) });
await linked.get();
const [callback] = await linked.children();
console.log(await callback?.get());
const failed = await concat.applyAsync([1, "1"], { linkError: errorHandler.s() });
console.log(await failed.get({ propagate: false }).then(String));

// Both take lists; each callback gets the result
const twice = await add.applyAsync([2, 2], { link: [add.s(1), mul.s(10)], linkError: [errorHandler.s()] });
await twice.get();
console.log(await Promise.all((await twice.children()).map((child) => child.get())));
console.log(await (await add.s(2, 2).applyAsync()).get());

// On message: every state on the way
const told: unknown[] = [];
const greeting = await hello.delay(3, 7);
console.log(await greeting.get({ onMessage: (meta) => told.push(`${meta.status} ${JSON.stringify(meta.result)}`) }));
console.log(told);

// ETA and countdown
const before = Date.now();
await (await add.applyAsync([1, 1], { countdown: 1 })).get();
console.log(Date.now() - before >= 1000);
console.log(await (await add.applyAsync([1, 1], { eta: new Date(Date.now() + 300) })).get());

// Expiration
const expired = await add.applyAsync([10, 10], { countdown: 0.3, expires: 0.1 });
await expired.get().catch((error: unknown) => console.log((error as Error).name, (error as Error).message));
console.log(await expired.state());

// Connection errors: publishing is tried again, by a policy, and then says what is wrong
const nowhere = new Tq("nowhere", { broker: "redis://127.0.0.1:1/0", setAsCurrent: false });
const lost = nowhere.task("nowhere.lost", () => 1);
try {
  await lost.applyAsync([], { retryPolicy: { maxRetries: 1, intervalStart: 0, intervalStep: 0.1, intervalMax: 0.1 } });
} catch (error) {
  console.log(error instanceof OperationalError);
}
await lost.applyAsync([], { retry: false }).catch((error: unknown) => {
  console.log(error instanceof lost.OperationalError, (error as Error).message.includes("after 1 try"));
});
const stopped = lost.applyAsync([], { retryPolicy: { maxRetries: null }, signal: AbortSignal.timeout(100) });
await stopped.catch((error: unknown) => console.log((error as Error).name));
await nowhere.close();

// Serializers and compression, for a call
console.log(await (await add.applyAsync([10, 10], { serializer: "json", compression: "zlib" })).get());

for (const compression of ["gzip", "brotli"]) await (await add.applyAsync([10, 10], { compression })).get();
for (const serializer of ["msgpack", "shout"]) {
  console.log(serializer, await (await add.applyAsync([10, 10], { serializer })).get());
}

// A connection of one's own, and calls that leave together
await using producer = app.producer({ hold: 4 });
const numbers: [number, number][] = [
  [2, 2],
  [4, 4],
  [8, 8],
  [16, 16],
];
const sent = await Promise.all(numbers.map((args) => add.applyAsync(args, { producer })));
console.log(await Promise.all(sent.map((result) => result.get())));

console.log(await (await group(numbers.map((args) => add.s(...args))).delay()).get());

// Routing, and ignoring a result for one call
console.log(await (await add.applyAsync([1, 2], { queue: "celery" })).get());
console.log(await (await mul.applyAsync([1, 3], { ignoreResult: true })).get());
console.log(await (await mul.applyAsync([1, 3], { ignoreResult: false })).get());

// With `resultExtended` a result knows its call
const extended = await add.applyAsync([1, 2], { kwargs: {}, priority: 0, queue: "celery" });
await extended.get();
console.log(await extended.name(), await extended.args(), await extended.queue(), await extended.retries());
await app.close();
