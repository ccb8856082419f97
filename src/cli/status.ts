import { encodeJson } from "../serialization/json.ts";
import { EX_OK } from "../system/exit-codes.ts";
import type { CommandModule } from "./command.ts";
import { addOptions } from "./options.ts";
import { broadcast, remoteOptions, sayOnline } from "./remote.ts";
import { optionsFor, withApp } from "./session.ts";

/** `tq status`: which workers are there. Exit code 69 when none answers. */
export const statusCommand: CommandModule = {
  description: "Show list of workers that are online.",
  define(command) {
    command.usage("[OPTIONS]");
    addOptions(command, remoteOptions);
  },
  async run(command, session) {
    const values = optionsFor(command, remoteOptions, session);
    return await withApp(session, async (app) => {
      const replies = await broadcast(app, session, { method: "ping", args: {}, body: false }, values);
      if (values.json) session.output.print(encodeJson(Object.assign({}, ...replies)));
      else sayOnline(session, replies.length);
      return EX_OK;
    });
  },
};
