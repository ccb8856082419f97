import { interopOver } from "./pairings.ts";

interopOver("redis");
