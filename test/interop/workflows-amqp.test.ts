import { workflowsOver } from "./workflow-pairings.ts";

workflowsOver("amqp", [
  ["Python", "tq"],
  ["tq", "Python"],
  ["Python", "Python and tq"],
  ["tq", "Python and tq"],
]);
