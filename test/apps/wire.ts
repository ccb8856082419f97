import { createWire } from "./wire-tasks.ts";

/** What `tq -A test/apps/wire.ts worker` runs; test/python/wire.py is its twin. */
export const { app } = createWire(process.env);
