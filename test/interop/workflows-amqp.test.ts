import { workflowsOver } from "./workflow-pairings.ts";

workflowsOver("amqp", [["Python", "Python and tq"]]);
