// Celery's guide "Tasks" in TypeScript. A worker of proj runs: npx tq -A proj worker -l INFO
import { chain, RemoteError } from "tq";
import { app } from "./proj/app.ts";
import {
  add,
  authenticate,
  dumpContext,
  fetchPage,
  handled,
  ignored,
  parsePage,
  refresh,
  rejected,
  storePageInfo,
  sum,
  tweet,
  upload,
} from "./proj/tasks.ts";

// Names
console.log(add.taskName, sum.taskName);
console.log([...app.tasks.names()].filter((name) => name.startsWith("sum")));

// The request
console.log(await (await dumpContext.applyAsync([2], { kwargs: { y: 3 } })).get());
console.log(dumpContext(1, 2).calledDirectly);

// Arguments are checked when calling, by the compiler and at run time
await app.sendTask("proj.tasks.add", [8]).then(
  async (result) => console.log(String(await result.get({ propagate: false }))),
  (error: unknown) => console.log(String(error)),
);
try {
  // @ts-expect-error one argument is missing
  await add.delay(8);
} catch (error) {
  console.log(String(error));
}

// Hiding sensitive information: logs and monitors show this instead
await (await add.applyAsync([1, 2], { argsrepr: "(<secret>)" })).get();

// Retrying
const states: string[] = [];
const tweeted = await tweet.delay("hello");
console.log(await tweeted.get({ onMessage: (meta) => states.push(meta.status) }), [...new Set(states)]);
await (await refresh.delay()).get().catch((error: unknown) => console.log(String(error)));

// States
const progress: unknown[] = [];
const uploaded = await upload.delay(["a", "b"]);
await uploaded.get({ onMessage: (meta) => meta.status === "PROGRESS" && progress.push(meta.result) });
console.log(progress.at(-1));

// Custom task classes
console.log(await (await authenticate.delay("george", "password")).get());
console.log(await (await authenticate.delay("george", "guess")).get());

// Expected failures, and semipredicates
await (await handled.delay()).get().catch((error: unknown) => console.log(error instanceof RemoteError, String(error)));
const left = await ignored.delay();
while ((await left.state()) !== "CUSTOM") await new Promise((resolve) => setTimeout(resolve, 10));
console.log(await left.result());
await rejected.delay();
const broker = await app.broker();
const reasons = async (): Promise<string[]> => (await broker.deadLetters.list()).map(({ reason }) => reason);
while (!(await reasons()).includes("no reason")) await new Promise((resolve) => setTimeout(resolve, 10));
console.log("no reason: kept in the dead-letter store");

// Avoid launching synchronous subtasks: a chain
const url = "example.com";
console.log(await (await chain(fetchPage.s(url), parsePage.s(), storePageInfo.s(url)).delay()).get());
await app.close();
