import { interopOver } from "./pairings.ts";

interopOver("amqp");
