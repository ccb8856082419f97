// Celery's guide "Next Steps" in TypeScript. A worker of proj runs: npx tq -A proj worker -l INFO
import { inspect } from "node:util";
import { chain, chord, group } from "tq";
import { app } from "./proj/app.ts";
import { add, applyFilter, concat, debugged, mul, tracked, uploadDocument, xsum } from "./proj/tasks.ts";

const range = (length: number): number[] => Array.from({ length }, (_, index) => index);

// Calling tasks
const result = await add.delay(2, 2);
console.log(String(result) === result.id, `${inspect(result)}`.replace(result.id, "<id>"));
console.log(await result.get({ timeout: 10 }));
console.log(await (await add.applyAsync([2, 2])).get());
console.log(await (await add.applyAsync([2, 2], { queue: "celery", countdown: 0.2 })).get());
console.log(add(2, 2)); // here and now: no message is sent

// Results: errors come back as they are, with their remote traceback
const failing = await concat.delay(2, "2");
const error = (await failing.get({ propagate: false })) as unknown;
console.log(String(error));
console.log(await failing.failed(), await failing.successful(), await failing.state());
await failing.get().catch((thrown: unknown) => console.log("thrown:", String(thrown)));
console.log(await app.asyncResult("this-id-does-not-exist").state());

// States: PENDING, STARTED where it is tracked, SUCCESS; with retries in between
const running = await tracked.delay();
while ((await running.state()) !== "STARTED") await new Promise((resolve) => setTimeout(resolve, 10));
console.log(Object.keys((await running.info()) as object));
await running.abort();
console.log(await running.get(), await running.state());

// Signatures: complete, partial, with options
console.log(String(add.signature([2, 2], { countdown: 0.1 })));
console.log(await (await add.s(2, 2).delay()).get());
console.log(await (await add.s(2).delay(8)).get());

console.log(await (await debugged.signature([2, 2], { kwargs: { debug: true } }).delay()).get());
console.log(
  await (
    await debugged.signature([2, 2], { kwargs: { debug: true } }).applyAsync([], { kwargs: { debug: false } })
  ).get(),
);

// Groups
console.log(await (await group(range(10).map((i) => add.s(i, i))).applyAsync()).get());
console.log(await (await group(range(10).map((i) => add.s(i))).delay(10)).get());

// Chains
console.log(await (await chain(add.s(4, 4), mul.s(8)).delay()).get());
console.log(await (await chain(add.s(4), mul.s(8)).delay(4)).get());
console.log(await (await add.s(4, 4).pipe(mul.s(8)).delay()).get());

// Chords; a group that goes on in a task becomes one
console.log(
  await (
    await chord(
      range(10).map((i) => add.s(i, i)),
      xsum.s(),
    ).delay()
  ).get(),
);
console.log(
  await (
    await group(range(10).map((i) => add.s(i, i)))
      .pipe(xsum.s())
      .delay()
  ).get(),
);

// A task whose result goes to each member of a group
const filters = ["sharp", "grey"];
const filtered = await chain(uploadDocument.s("a.png"), group(filters.map((name) => applyFilter.s(name)))).delay();
console.log(await filtered.get());

// Routing: by the call, or by `taskRoutes` of the app
const routed = await add.applyAsync([1, 1], { queue: "celery" });
console.log(await routed.get());

// Remote control
const replies = await app.control.inspect({ timeout: 5, limit: 1 }).ping();
console.log(Object.values(replies ?? {}));
const active = await app.control.inspect({ timeout: 5, limit: 1 }).active();
console.log(Object.values(active ?? {}));
const told = await app.control.enableEvents({ reply: true, timeout: 5, limit: 1 });
console.log(told.map((reply) => Object.values(reply)[0]));
await app.control.disableEvents({ reply: true, timeout: 5, limit: 1 });
await app.close();
