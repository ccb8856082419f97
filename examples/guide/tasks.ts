// Celery's guide "Tasks" in TypeScript. A worker of proj runs: npx tq -A proj worker -l INFO
import { chain, PROPAGATE_STATES, precedence, READY_STATES, RemoteError, Tq } from "tq";
import { app } from "./proj/app.ts";
import {
  add,
  authenticate,
  backingOff,
  comments,
  dumpContext,
  fetchPage,
  greet,
  HttpError,
  handled,
  ignored,
  loose,
  noted,
  parsePage,
  processRows,
  refresh,
  rejected,
  request,
  requeued,
  resize,
  spamFilter,
  storePageInfo,
  sum,
  tweet,
  upload,
  waits,
} from "./proj/tasks.ts";

// Names
console.log(add.taskName, sum.taskName);
console.log([...app.tasks.names()].filter((name) => name.startsWith("sum")));

class Named extends Tq {
  override genTaskName(name: string, main: string): string {
    return super.genTaskName(name, main.replace(/\.tasks$/, ""));
  }
}
console.log(new Named("moduleA.tasks", { setAsCurrent: false }).task(function taskA() {}).taskName);
console.log(await (await resize.delay(4, 10)).get(), String(greet));

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

console.log(await (await loose.applyAsync([8])).get()); // `typing: false`: nobody minds

// Hiding sensitive information: logs and monitors show this instead
await (await add.applyAsync([1, 2], { argsrepr: "(<secret>)" })).get();

// Retrying
const states: string[] = [];
const tweeted = await tweet.delay("hello");
console.log(await tweeted.get({ onMessage: (meta) => states.push(meta.status) }), [...new Set(states)]);
await (await refresh.delay()).get().catch((error: unknown) => console.log(String(error)));

console.log(await (await backingOff.delay()).get());

// Errors come back as themselves, with what they were made of
const missing = (await (await request.delay()).get({ propagate: false })) as unknown;
console.log(missing instanceof HttpError, (missing as HttpError).status, String(missing));

// States, and what they mean
console.log([...READY_STATES], [...PROPAGATE_STATES], precedence("SUCCESS") < precedence("STARTED"));
const progress: unknown[] = [];
const uploaded = await upload.delay(["a", "b"]);
await uploaded.get({ onMessage: (meta) => meta.status === "PROGRESS" && progress.push(meta.result) });
console.log(progress.at(-1));

// Custom task classes
console.log(await (await authenticate.delay("george", "password")).get());
console.log(await (await authenticate.delay("george", "guess")).get());

console.log(await (await processRows.delay()).get(), await (await greet.delay("you")).get());
await (await noted.delay("key")).get().catch((error: unknown) => console.log(String(error)));

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

console.log(await (await requeued.delay()).get());

// Avoid launching synchronous subtasks: a chain
const url = "example.com";
console.log(await (await chain(fetchPage.s(url), parsePage.s(), storePageInfo.s(url)).delay()).get());
console.log(await (await waits.delay()).get());

// The full example: a comment is written, its check is sent with the id alone
comments.save([{ id: 1, text: "nice post", isSpam: false }]);
const checks = [await spamFilter.delay({ commentId: 1, remoteAddr: "10.0.0.1" })];
checks.push(await spamFilter.delay({ commentId: 2, remoteAddr: "10.0.0.2" })); // before it is written: it is tried again
await checks[0]?.get();
comments.save([...comments.all(), { id: 2, text: "visit my CASINO", isSpam: false }]);
console.log(
  await Promise.all(checks.map((check) => check.get())),
  comments.all().map(({ isSpam }) => isSpam),
);
await app.close();
