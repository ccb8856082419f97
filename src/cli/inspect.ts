import { remoteCommand } from "./remote.ts";

/** `tq inspect`: asks the workers. Exit code 69 when none answers. */
export const inspectCommand = remoteCommand("inspect", {
  description: `Inspect the workers by sending them the COMMAND inspect command.

Nothing it asks changes a worker, and workers of Celery answer as well.

Examples
--------

$ tq -A proj inspect active
$ tq -A proj inspect active --destination=w1@host,w2@host --json
$ tq -A proj inspect registered rate_limit max_retries
$ tq -A proj inspect query_task d4ef… 80c9…`,
});
