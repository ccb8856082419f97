// Celery's guide "Canvas" in TypeScript. A worker of proj runs: npx tq -A proj worker -l INFO
import { chain, chord, group } from "tq";
import { app } from "./proj/app.ts";
import { add, concat, errorHandler, mul, xsum } from "./proj/tasks.ts";

const range = (length: number): number[] => Array.from({ length }, (_, index) => index);

// Signatures know their arguments and options, and run like tasks
const signature = add.signature([2, 2], { countdown: 0.1 });
console.log(String(signature), signature.toJSON().options);
console.log(await (await signature.delay()).get());

console.log(add.signature([2], { kwargs: { y: 2 } }).args, add.signature([2], { kwargs: { y: 2 } }).kwargs);
console.log(String(app.signature("proj.tasks.add", [2, 2], { countdown: 10 })), add.s(2, 2).run());

// Partials: arguments are put in front, options are merged; immutable ones take nothing
const partial = add.s(2);
console.log(String(partial.clone([4])), await (await partial.delay(4)).get());
console.log(await (await chain(add.s(2, 2), mul.si(4, 4)).delay()).get());

// Callbacks, told when a task has succeeded, and when it has not
const result = await add
  .s(2, 2)
  .set({ link: mul.s(10) })
  .delay();
await result.get();
console.log(await (await result.children())[0]?.get());
await (await concat.s(1, "1").onError(errorHandler.s()).delay())
  .get()
  .catch((error: unknown) => console.log(String(error)));

// Chains: results know their parents
const chained = await chain(add.s(2, 2), add.s(4), mul.s(8)).delay();
console.log(await chained.get());
console.log(await chained.parent?.get(), await chained.parent?.parent?.get());

const drawn = await app.asyncResult(chained.parent?.parent?.id ?? "").graph();
console.log(drawn.nodes.size, "results,", drawn.toDot().split("->").length - 1, "edges");

// Groups: a result for all of them
const grouped = await group(range(5).map((i) => add.s(i, i))).delay();
console.log(await grouped.get());
console.log(await grouped.successful(), await grouped.completedCount());

// Chords, and what becomes of one whose header fails
console.log(
  await (
    await chord(
      range(100).map((i) => add.s(i, i)),
      xsum.s(),
    ).delay()
  ).get(),
);
const broken = await chord([add.s(2, 2), concat.s(1, "1") as never], xsum.s()).delay();
await broken.get().catch((error: unknown) => console.log((error as Error).name));

// Map, starmap, chunks
console.log(await (await xsum.map([range(10), range(100)]).delay()).get());
console.log(await (await add.starmap(range(10).map((i) => [i, i])).delay()).get());
console.log(
  await (
    await add
      .chunks(
        range(20).map((i) => [i, i]),
        10,
      )
      .applyAsync()
  ).get(),
);

// Signatures travel as data
console.log(JSON.stringify(add.s(2, 2)));
await app.close();
