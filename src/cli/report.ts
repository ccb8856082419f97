import { bugReport } from "../app/report.ts";
import type { CommandModule } from "./command.ts";
import { withApp } from "./session.ts";

/** `tq report`: what a bug report needs to tell, with nothing secret in it. */
export const reportCommand: CommandModule = {
  description: "Shows information useful to include in bug-reports.",
  define(command) {
    command.usage("[OPTIONS]");
  },
  async run(_command, session) {
    return await withApp(session, async (app) => {
      session.output.print(bugReport(app));
      return 0;
    });
  },
};
