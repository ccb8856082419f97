import { Tq } from "tq";

export const app = new Tq("quickstart", { include: ["./tasks.ts"] }); // no broker given: the embedded store
