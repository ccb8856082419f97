/**
 * An argument that does nothing but make room: a title is cut to the length the command line
 * had at the start, so children are started with this as their last argument.
 */
export const titleRoom = " ".repeat(120);

/** The title of a worker's process in Celery's form: `[tq: worker@host:MainProcess] -active- (worker -A proj)`. */
export function workerTitle(
  nodename: string,
  processName: string,
  state?: { readonly activity?: string; readonly argv?: readonly string[] },
): string {
  const activity = state?.activity === undefined ? "" : ` -${state.activity}-`;
  const argv = state?.argv === undefined ? "" : ` (${maskPasswords(state.argv.join(" "))})`;
  return `[tq: ${nodename}:${processName}]${activity}${argv}`;
}

/** Shows a title in `ps` and `top`; does nothing when `NOSETPS` is set, as in Celery. */
export function setProcessTitle(title: string): void {
  if (!process.env.NOSETPS) process.title = title;
}

/** The title stands in a list every user of the machine can read. */
function maskPasswords(text: string): string {
  return text.replace(/(\w+:\/\/[^\s:@/]*:)[^\s@/]+@/g, "$1**@");
}
