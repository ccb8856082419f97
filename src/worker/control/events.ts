import { softwareInfo } from "../../events/software.ts";
import { pythonRepr } from "../../util/repr.ts";
import { ok, ValueError, type WorkerCommand } from "./panel.ts";

/** Commands about events and what workers settle by them. */
export const eventCommands: readonly WorkerCommand[] = [
  {
    name: "enable_events",
    type: "control",
    help: "Tell worker(s) to send task-related events.",
    run({ events, logger }) {
      if (!events.enable("task")) return ok("task events already enabled");
      logger.info("Events of group {task} enabled by remote.");
      return ok("task events enabled");
    },
  },
  {
    name: "disable_events",
    type: "control",
    help: "Tell worker(s) to stop sending task-related events.",
    run({ events, logger }) {
      if (!events.disable("task")) return ok("task events already disabled");
      logger.info("Events of group {task} disabled by remote.");
      return ok("task events disabled");
    },
  },
  {
    name: "heartbeat",
    type: "control",
    help: "Tell worker(s) to send event heartbeat immediately.",
    run({ events, logger }) {
      logger.debug("Heartbeat requested by remote.");
      events.send("worker-heartbeat", { freq: 5, ...softwareInfo() });
      return null;
    },
  },
  {
    name: "election",
    type: "control",
    help: "Hold election.",
    required: ["id", "topic"],
    run({ elect }, { id, topic, action = null }) {
      if (typeof id !== "string" || typeof topic !== "string") {
        throw new ValueError(`id and topic must be texts, got: ${pythonRepr([id, topic], { maxLength: 200 })}`);
      }
      elect?.(id, topic, action);
      return null;
    },
  },
];
