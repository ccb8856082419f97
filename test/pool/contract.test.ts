import { afterAll, beforeAll } from "vitest";
import { type Cannot, type PoolKind, poolContract } from "../contract/pool.ts";
import { poolMaker } from "./kit.ts";

let maker: Awaited<ReturnType<typeof poolMaker>>;
beforeAll(async () => {
  maker = await poolMaker();
});
afterAll(async () => {
  await maker[Symbol.asyncDispose]();
});

const inPlace: Cannot = {
  interrupt: "JavaScript cannot be interrupted from outside, and there is no other process or thread to end",
  "survive-exit": "the task runs in the worker's own process",
  "survive-kill": "the task runs in the worker's own process",
  recycle: "there is no child to replace",
  programs: "a program's output goes where the worker's goes",
};

const kinds: readonly PoolKind[] = [
  { name: "prefork", options: { pool: "prefork" }, cannot: {} },
  { name: "prefork --async 4", options: { pool: "prefork", async: 4 }, cannot: {} },
  {
    name: "prefork -O fast",
    options: { pool: "prefork", optimization: "fast" },
    cannot: { overlap: "its size is that of its batches" },
  },
  {
    name: "threads",
    options: { pool: "threads" },
    cannot: {
      "survive-kill": "a signal ends the whole process",
      programs: "a program's output goes where the worker's goes",
    },
  },
  { name: "async", options: { pool: "gevent" }, cannot: inPlace },
  {
    name: "solo",
    options: { pool: "solo" },
    cannot: { ...inPlace, overlap: "it runs one task at a time", resize: "it is one" },
  },
];

for (const kind of kinds) poolContract(kind, (options) => maker.make(options));
