/** Tasks whose results go to a store of their own, for workers with children. */
import { join } from "node:path";
import { Tq } from "../../src/index.ts";

const file = (name: string): string => `sqlite://${join(process.env.OWN_STORE_FOLDER ?? "/nowhere", name)}`;
const backend = file("own.db");

export const app = new Tq("own", { broker: file("tq.db"), backend: file("tq.db") });
export const own = app.task("own.own", { backend }, (x: number) => x * 10);
export const late = app.task("own.late", { backend, acksLate: true }, (x: number) => x + 1);
export const dies = app.task("own.dies", { backend }, (): number => process.exit(3));
