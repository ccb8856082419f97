import { bugReport } from "../../app/report.ts";
import { toCamelCase } from "../../config/names.ts";
import { readRevoked, writeRevoked } from "../../protocol/hello.ts";
import type { TaskOptions } from "../../task/task.ts";
import { legible } from "../../util/legible.ts";
import { pythonRepr } from "../../util/repr.ts";
import { readClocks } from "../mingle.ts";
import { ok, ValueError, type WorkerCommand } from "./panel.ts";
import { noReply } from "./run-command.ts";
import { tellable, workerStats } from "./stats.ts";

/** What `registered` tells of a task unless asked for something else. */
const defaultAttributes = ["exchange", "routing_key", "rate_limit"];

/** Commands about the worker as a whole. */
export const workerCommands: readonly WorkerCommand[] = [
  {
    name: "ping",
    type: "inspect",
    help: "Ping worker(s).",
    run: () => ok("pong"),
  },
  {
    name: "stats",
    type: "inspect",
    help: "Request worker statistics/information.",
    run: (panel) => workerStats(panel),
  },
  {
    name: "clock",
    type: "inspect",
    help: "Get current logical clock value.",
    run: ({ app }) => ({ clock: app.clock.value }),
  },
  {
    name: "report",
    type: "inspect",
    help: "Information about the installation for bug reports.",
    run: ({ app }) => ok(bugReport(app)),
  },
  {
    name: "conf",
    type: "inspect",
    alias: "dump_conf",
    args: [{ name: "with_defaults", type: "bool" }],
    signature: "[include_defaults=False]",
    help: "List configuration.",
    run: ({ app }, { with_defaults: withDefaults }) =>
      tellable(app.conf.table({ withDefaults: withDefaults === true })),
  },
  {
    name: "registered",
    type: "inspect",
    alias: "dump_tasks",
    variadic: "taskinfoitems",
    signature: "[attr1 [attr2 [... [attrN]]]]",
    help: "List of registered tasks.",
    run({ app, state, rateLimits }, { taskinfoitems: given, builtins }) {
      const attributes = readAttributes(given);
      return app.tasks.names({ builtins: builtins === true }).map((name) => {
        const { options } = app.tasks.find(name);
        const limits = state.timeLimits.get(name);
        const changed = limits === undefined ? {} : { timeLimit: limits.hard, softTimeLimit: limits.soft };
        const own = { ...options, rateLimit: rateLimits.rateLimit(name) || null, ...changed };
        return withAttributes(name, attributes, own);
      });
    },
  },
  {
    name: "shutdown",
    type: "control",
    help: "Shutdown worker(s).",
    run({ shutdown, logger }, { msg }) {
      logger.warn("%s", typeof msg === "string" ? legible(msg) : "Got shutdown from remote");
      shutdown();
      return noReply;
    },
  },
  {
    name: "hello",
    type: "inspect",
    help: "Request mingle sync-data.",
    visible: false,
    required: ["from_node"],
    run({ app, hostname, logger, revokes }, { from_node: from, revoked }) {
      if (from === hostname) return null;
      logger.info("sync with %s", legible(String(from)));
      revokes.merge({ ids: readRevoked(revoked, readClocks(), revokes.expires), stamps: [] });
      return { revoked: writeRevoked(revokes.record().ids, readClocks()), clock: app.clock.forward() };
    },
  },
];

function readAttributes(given: unknown): readonly string[] {
  if (given === undefined || given === null) return defaultAttributes;
  if (Array.isArray(given) && given.every((name) => typeof name === "string")) {
    return given.length > 0 ? given : defaultAttributes;
  }
  throw new ValueError(`taskinfoitems must be a list of attributes, got: ${pythonRepr(given, { maxLength: 100 })}`);
}

/** `proj.add [rate_limit=10/m]`, with the attributes that are set, in Python's spelling. */
function withAttributes(name: string, attributes: readonly string[], options: TaskOptions): string {
  const shown = attributes.flatMap((attribute) => {
    const value = attribute === "name" ? name : (options as unknown as Record<string, unknown>)[toCamelCase(attribute)];
    if (value === undefined || value === null) return [];
    return [`${attribute}=${typeof value === "string" ? value : pythonRepr(value)}`];
  });
  return shown.length === 0 ? name : `${name} [${shown.join(" ")}]`;
}
