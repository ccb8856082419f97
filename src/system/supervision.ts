import { Socket } from "node:net";

/**
 * How a process and the one that started it know of each other: over an inherited socket. What is
 * said on it are lines in the words of systemd's notify protocol (`READY=1`, `STOPPING=1`,
 * `STATUS=<text>`); its end means that the other side is gone.
 */

/** Names, as JSON, what a started process needs to know. Taken out of the environment when read. */
const variable = "TQ_SUPERVISION";

/** What the starter tells in the environment. */
export interface SupervisionTerms {
  /** The descriptor of the socket. */
  readonly fd: number;
  /** Whether to end when the starter does. */
  readonly bound: boolean;
  /** The process whose pidfile is to be taken over: a reload has the new node up before the old one goes. */
  readonly replaces: number | null;
}

/** The environment variable by which a starter passes its terms on. */
export function supervisionEnvironment(terms: SupervisionTerms): Readonly<Record<string, string>> {
  return { [variable]: JSON.stringify(terms) };
}

/** The started process's side. Every method may be called when nobody listens. */
export interface Supervision {
  readonly replaces: number | null;
  ready(): void;
  stopping(): void;
  /** Why it will not come up. */
  failed(message: string): void;
  /** Calls back when this process is to end with its starter and that is gone; the last one given is called, once. */
  onLost(listener: () => void): void;
}

/** The connection to who started this process; one that does nothing when nobody waits for it. */
export function takeSupervision(env: NodeJS.ProcessEnv): Supervision {
  const terms = parseTerms(env[variable]);
  delete env[variable];
  if (terms === undefined) return unsupervised;
  const socket = new Socket({ fd: terms.fd, readable: true, writable: true });
  let listener: (() => void) | undefined;
  let isGone = false;
  let isTold = false;
  const tellLost = (): void => {
    if (!isGone || !terms.bound || isTold || listener === undefined) return;
    isTold = true;
    listener();
  };
  socket.on("error", () => undefined); // the starter has gone; `close` follows
  socket.on("end", () => socket.destroy());
  socket.on("close", () => {
    isGone = true;
    tellLost();
  });
  socket.resume();
  socket.unref();
  const tell = (line: string): void => {
    if (socket.writable) socket.write(`${line}\n`);
  };
  return {
    replaces: terms.replaces,
    ready: () => tell("READY=1"),
    stopping: () => tell("STOPPING=1"),
    failed: (message) => tell(`STATUS=${message.replaceAll("\n", "\\n")}`),
    onLost(callback) {
      listener = callback;
      tellLost();
    },
  };
}

const unsupervised: Supervision = {
  replaces: null,
  ready: () => undefined,
  stopping: () => undefined,
  failed: () => undefined,
  onLost: () => undefined,
};

function parseTerms(text: string | undefined): SupervisionTerms | undefined {
  if (!text) return undefined;
  try {
    const { fd, bound, replaces } = JSON.parse(text) as Partial<SupervisionTerms>;
    if (!Number.isSafeInteger(fd)) return undefined;
    return { fd: fd as number, bound: bound === true, replaces: typeof replaces === "number" ? replaces : null };
  } catch {
    return undefined;
  }
}
