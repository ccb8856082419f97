/** Node names: `name@host`, the way workers are told apart (inventory F1, G122). */

const DEFAULT_NAME = "celery";

/**
 * The full name of a node: `celery@host` for none, `name@host` for a bare name. `%h` (host with
 * domain), `%n` (host without domain), `%d` (domain) and `%%` are replaced.
 */
export function nodename(name: string | undefined, hostname: string): string {
  if (name === undefined || name === "") return `${DEFAULT_NAME}@${hostname}`;
  const [short, domain] = splitHost(hostname);
  const expanded = substitute(name, { h: hostname, n: short, d: domain });
  const [own, host] = splitNodename(expanded);
  return `${own ?? DEFAULT_NAME}@${host === "" ? hostname : host}`;
}

/**
 * The parts of a node name; a name without `@` is taken for a name, not a host, and an empty
 * part for none. Splits at the first `@`.
 */
export function splitNodename(node: string): [name: string | null, host: string] {
  const at = node.indexOf("@");
  if (at < 0) return [node === "" ? null : node, ""];
  return [at === 0 ? null : node.slice(0, at), node.slice(at + 1)];
}

/** What a template may stand for. */
export interface NodeExpansion {
  readonly nodename: string;
  /** Number of the child, from 1; 0 or left out for the main process. */
  readonly index?: number;
  readonly pid?: number;
}

/**
 * Fills in a template such as a log file's name: `%p` full node name, `%n` its name, `%h` its
 * host, `%d` the host's domain, `%i` number of the child (0 in the main process), `%I` the same
 * with a dash (nothing in the main process), `%P` process id if known, `%%` a per cent sign.
 * Anything else stays.
 */
export function expandNodename(text: string, node: NodeExpansion): string {
  const [name, host] = splitNodename(node.nodename);
  const index = node.index ?? 0;
  return substitute(text, {
    p: node.nodename,
    n: name ?? DEFAULT_NAME,
    h: host,
    d: splitHost(host)[1],
    i: String(index),
    I: index > 0 ? `-${index}` : "",
    ...(node.pid === undefined ? {} : { P: String(node.pid) }),
  });
}

/** The name of a process that is no worker: sender of messages and of task-sent events. */
export function anonNodename(pid: number, hostname: string): string {
  return `gen${pid}@${hostname}`;
}

function splitHost(hostname: string): [short: string, domain: string] {
  const dot = hostname.indexOf(".");
  return dot < 0 ? [hostname, ""] : [hostname.slice(0, dot), hostname.slice(dot + 1)];
}

function substitute(text: string, values: Readonly<Record<string, string>>): string {
  return text.replace(/%(.)/g, (whole, key: string) =>
    key === "%" ? "%" : Object.hasOwn(values, key) ? (values[key] as string) : whole,
  );
}
