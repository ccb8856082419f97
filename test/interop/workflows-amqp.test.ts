import { workflowsOver } from "./workflow-pairings.ts";

workflowsOver("amqp", [
  ["Python", "Python and tq"],
  ["tq", "Python and tq"],
]);
