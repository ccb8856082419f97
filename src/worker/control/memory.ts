import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeHeapSnapshot } from "node:v8";
import { pythonRepr } from "../../util/repr.ts";
import { humanBytes } from "./memory-samples.ts";
import { ValueError, type WorkerCommand } from "./panel.ts";

/** Commands for finding out where memory goes. */
export const memoryCommands: readonly WorkerCommand[] = [
  {
    name: "memsample",
    type: "inspect",
    help: "Sample current RSS memory usage.",
    run: ({ memory }) => memory.take(),
  },
  {
    name: "memdump",
    type: "inspect",
    args: [{ name: "samples", type: "int" }],
    signature: "[n_samples=10]",
    help: "Dump statistics of previous memsample requests.",
    run({ memory }, { samples = 10 }) {
      if (typeof samples !== "number" || !Number.isSafeInteger(samples) || samples < 1) {
        throw new ValueError(
          `samples must be a whole number from 1 on, got: ${pythonRepr(samples, { maxLength: 100 })}`,
        );
      }
      const before = memory.drain(samples);
      const { rss, heapUsed, heapTotal, external } = process.memoryUsage();
      return [
        ...(before.length > 0 ? ["- rss (sample):", ...before.map((sample) => `-    > ${sample},`)] : []),
        `- rss (end): ${humanBytes(rss)}.`,
        `- heap: ${humanBytes(heapUsed)} of ${humanBytes(heapTotal)}, external ${humanBytes(external)}.`,
        "",
      ].join("\n");
    },
  },
  {
    name: "objgraph",
    type: "inspect",
    args: [
      { name: "type", type: "str" },
      { name: "num", type: "int" },
      { name: "max_depth", type: "int" },
    ],
    signature: "[object_type=Request] [num=200 [max_depth=10]]",
    help: "Write a snapshot of the heap to a file (memory-leak debugging).",
    async run({ logger }) {
      // A folder only we can enter: the snapshot holds whatever is in memory.
      const folder = await mkdtemp(join(tmpdir(), "tq-heap-"));
      logger.info("Writing a heap snapshot to %s", folder);
      return { filename: writeHeapSnapshot(join(folder, `worker-${process.pid}.heapsnapshot`)) };
    },
  },
];
