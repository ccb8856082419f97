import { remoteCommand } from "./remote.ts";

/** `tq control`: tells the workers. Exit code 69 when none answers. */
export const controlCommand = remoteCommand("control", {
  description: `Send the COMMAND control command to the workers.

Workers of Celery obey as well.

Examples
--------

$ tq -A proj control rate_limit proj.tasks.add 10/m
$ tq -A proj control revoke d4ef… 80c9…
$ tq -A proj control add_consumer images --destination=w1@host
$ tq -A proj control shutdown --pattern='batch*'`,
});
