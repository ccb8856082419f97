import { integer, name, nullable } from "../parse.ts";
import { notYet, type Setting, setting } from "../setting.ts";

type DaemonKey = "Logfile" | "Pidfile" | "Uid" | "Gid" | "Umask" | "Executable";

/** Who a process runs as: a number, or a name. */
const identity = {
  expects: "a name or a number",
  parse: (given: unknown): string | number | undefined => name.parse(given) ?? integer(0).parse(given),
};

/** Octal when it begins with 0 or is a number already. */
const umask = {
  expects: "a mask such as 022",
  parse: (given: unknown): string | number | undefined =>
    typeof given === "number"
      ? integer(0, 0o777).parse(given)
      : /^[0-7]{1,4}$/.test(String(given))
        ? String(given)
        : undefined,
};

/**
 * What the flags `--logfile`, `--pidfile`, `--uid`, `--gid`, `--umask` and `--executable` of one
 * command default to (inventory F23, H173).
 */
export function daemonSettings<const Command extends "worker" | "beat" | "events">(command: Command) {
  const path = nullable(name);
  // Nothing runs as `events` yet.
  const make = command === "events" ? notYet : setting;
  return {
    [`${command}Logfile`]: make(path, null, `Log file of ${command}.`),
    [`${command}Pidfile`]: make(path, null, `Pid file of ${command}.`),
    [`${command}Uid`]: make(nullable(identity), null, `User to run ${command} as.`),
    [`${command}Gid`]: make(nullable(identity), null, `Group to run ${command} as.`),
    [`${command}Umask`]: make(nullable(umask), null, `File mode mask of ${command}.`),
    [`${command}Executable`]: make(path, null, `Program that starts ${command} detached.`),
  } as {
    readonly [Key in `${Command}${DaemonKey}`]: Key extends `${Command}${"Uid" | "Gid" | "Umask"}`
      ? Setting<string | number | null, string | number | null>
      : Setting<string | null, string | null>;
  };
}
