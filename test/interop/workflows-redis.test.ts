import { workflowsOver } from "./workflow-pairings.ts";

workflowsOver("redis", [
  ["Python", "tq"],
  ["tq", "Python"],
  ["tq", "Python and tq"],
  ["Python", "Python and tq"],
]);
