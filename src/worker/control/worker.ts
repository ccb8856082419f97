import { readRevoked, writeRevoked } from "../../protocol/hello.ts";
import { legible } from "../../util/legible.ts";
import { readClocks } from "../mingle.ts";
import { ok, type WorkerCommand } from "./panel.ts";

/** Commands about the worker as a whole. */
export const workerCommands: readonly WorkerCommand[] = [
  {
    name: "ping",
    type: "inspect",
    help: "Ping worker(s).",
    run: () => ok("pong"),
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
      revokes.merge({ ids: readRevoked(revoked, readClocks()), stamps: [] });
      return { revoked: writeRevoked(revokes.record().ids, readClocks()), clock: app.clock.forward() };
    },
  },
  {
    name: "clock",
    type: "inspect",
    help: "Get current logical clock value.",
    run: ({ app }) => ({ clock: app.clock.value }),
  },
];
