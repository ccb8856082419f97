import { parseRate } from "../../config/parse.ts";
import { parseSignal } from "../../system/posix-signals.ts";
import { pythonRepr, pythonStringLiteral } from "../../util/repr.ts";
import { nok, ok, type Panel, ValueError, type WorkerCommand } from "./panel.ts";

/** Commands that change how tasks run, or whether they do. */
export const taskCommands: readonly WorkerCommand[] = [
  {
    name: "revoke",
    type: "control",
    variadic: "task_id",
    signature: "[id1 [id2 [... [idN]]]]",
    help: "Revoke task by task id (or list of ids).",
    required: ["task_id"],
    run: (panel, { task_id: ids, terminate, signal }) => revoke(panel, ids, terminate ? (signal ?? "SIGTERM") : null),
  },
  {
    name: "terminate",
    type: "control",
    args: [{ name: "signal", type: "str" }],
    variadic: "task_id",
    signature: "<signal> [id1 [id2 [... [idN]]]]",
    help: "Terminate task by task id (or list of ids).",
    required: ["signal", "task_id"],
    run: (panel, { task_id: ids, signal }) => revoke(panel, ids, signal ?? "SIGTERM"),
  },
  {
    name: "revoke_by_stamped_headers",
    type: "control",
    variadic: "headers",
    signature: "[key1=value1 [key2=value2 [... [keyN=valueN]]]]",
    help: "Revoke task by header (or list of headers).",
    required: ["headers"],
    run({ revocation }, { headers: given, terminate, signal }) {
      const headers = readStamps(given);
      if (!terminate) {
        revocation.revokeByStampedHeaders(headers);
        return ok(`headers ${pythonRepr(headers)} flagged as revoked, but not terminated`);
      }
      const found = revocation.terminateByStampedHeaders(headers, readSignal(signal ?? "SIGTERM"));
      if (found.size === 0) return ok(`headers ${pythonRepr(headers)} were not terminated`);
      return ok(`headers defaultdict(<class 'set'>, ${pythonRepr(found)}) revoked`);
    },
  },
  {
    name: "rate_limit",
    type: "control",
    args: [
      { name: "task_name", type: "str" },
      { name: "rate_limit", type: "str" },
    ],
    signature: "<task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>",
    help: "Tell worker(s) to modify the rate limit for a task by type.",
    required: ["task_name", "rate_limit"],
    run(panel, { task_name: name, rate_limit: rate }) {
      const { rateLimits, logger } = panel;
      if (parseRate(rate) === undefined) {
        const amount = String(rate).split("/")[0] as string;
        const why = `could not convert string to float: ${pythonStringLiteral(amount.slice(0, 100))}`;
        return nok(`Invalid rate limit string: ValueError(${pythonStringLiteral(why)})`);
      }
      const limit = rate as string | number | null;
      if (typeof name !== "string" || !rateLimits.setRateLimit(name, limit)) {
        logger.error("Rate limit attempt for unknown task %s", pythonRepr(name, { maxLength: 200 }));
        return nok("unknown task");
      }
      if (!parseRate(limit)) {
        logger.info("Rate limits disabled for tasks of type %s", name);
        return ok("rate limit disabled successfully");
      }
      logger.info("New rate limit for tasks of type %s: %s.", name, limit);
      return ok("new rate limit set successfully");
    },
  },
  {
    name: "time_limit",
    type: "control",
    args: [
      { name: "task_name", type: "str" },
      { name: "soft", type: "float" },
      { name: "hard", type: "float" },
    ],
    signature: "<task_name> <soft_secs> [hard_secs]",
    help: "Tell worker(s) to modify the time limit for task by type.",
    required: ["task_name"],
    run({ app, state, logger }, { task_name: name, soft = null, hard = null }) {
      if (typeof name !== "string" || !app.tasks.has(name)) {
        logger.error("Change time limit attempt for unknown task %s", pythonRepr(name, { maxLength: 200 }));
        return nok("unknown task");
      }
      state.timeLimits.set(name, { soft: readSeconds(soft, "soft"), hard: readSeconds(hard, "hard") });
      logger.info("New time limits for tasks of type %s: soft=%s hard=%s", name, pythonRepr(soft), pythonRepr(hard));
      return ok("time limits set successfully");
    },
  },
];

/** Celery's two kinds of answer: which ids are marked, or which of them were running. */
async function revoke({ revocation }: Panel, given: unknown, signal: unknown): Promise<unknown> {
  const ids = readIds(given);
  if (signal === null) {
    await revocation.revoke(ids);
    return ok(
      `tasks ${ids.length === 0 ? "set()" : `{${ids.map(pythonStringLiteral).join(", ")}}`} flagged as revoked`,
    );
  }
  const terminated = await revocation.terminate(ids, readSignal(signal));
  return ok(terminated.length === 0 ? "terminate: tasks unknown" : `terminate: ${terminated.join(", ")}`);
}

function readIds(given: unknown): string[] {
  const ids = given === null ? [] : [given].flat();
  const wrong = ids.find((id) => typeof id !== "string" || id === "");
  if (wrong !== undefined)
    throw new ValueError(`task_id must be an id or a list of ids, got: ${pythonRepr(wrong, { maxLength: 100 })}`);
  return [...new Set(ids as string[])];
}

function readSignal(given: unknown): NodeJS.Signals {
  const signal = parseSignal(given);
  if (signal === undefined)
    throw new ValueError(`${pythonRepr(given, { maxLength: 100 })} is not a signal such as SIGTERM`);
  return signal;
}

/** `{header: value or values}`, or `["header=value"]` as the command line gives them. */
function readStamps(given: unknown): Readonly<Record<string, unknown>> {
  if (Array.isArray(given)) {
    const pairs = given.map((pair): [string, string] => {
      const at = typeof pair === "string" ? pair.indexOf("=") : -1;
      if (at <= 0)
        throw new ValueError(`headers must be given as key=value, got: ${pythonRepr(pair, { maxLength: 100 })}`);
      return [(pair as string).slice(0, at), (pair as string).slice(at + 1)];
    });
    return Object.fromEntries(pairs);
  }
  if (typeof given === "object" && given !== null) return given as Readonly<Record<string, unknown>>;
  throw new ValueError("headers must be an object of stamps, or a list of key=value");
}

function readSeconds(given: unknown, name: string): number | null {
  if (given === null) return null;
  if (typeof given === "number" && Number.isFinite(given) && given >= 0) return given;
  throw new ValueError(`${name} must be a number of seconds, got: ${pythonRepr(given, { maxLength: 100 })}`);
}
