import type { ChildProcess } from "node:child_process";
import { catchesSignal } from "../../system/caught-signals.ts";
import { InspectorClient } from "../../system/inspector-client.ts";
import { runningStack } from "../../system/running-stack.ts";

type Stack = readonly string[] | null;

/**
 * - `shut`: the child has no inspector open, as far as is known.
 * - `expected`: it was told to open one, which it does once it is in JavaScript.
 * - `visited`: it has one open, to be shut at once.
 * - `foreign`: somebody else wanted one; it is let alone.
 */
type State = "shut" | "expected" | "visited" | "foreign";

/** What Node prints of an inspector beside its address. */
const remarks = [
  "For help, see: ",
  "Debugger attached.",
  "Debugger ending on ",
  "Waiting for the debugger to disconnect",
];

/** Where the system begins with the ports it gives to whoever does not name one (Linux). */
const firstPortByChance = 32_768;

/**
 * Sees the stack of a child whose event loop is blocked. SIGUSR1 has Node open its inspector there even then; the child
 * prints the address, with an id that cannot be guessed, on its standard error, which its parent alone reads. The
 * parent connects, asks, and has the inspector shut again. It is also shut when the signal came from somebody
 * else, unless debuggers are allowed.
 */
export class ChildStack {
  readonly #process: ChildProcess;
  readonly #allowsDebuggers: boolean;
  #state: State = "shut";
  #askers: ((stack: Stack) => void)[] = [];
  /** What is still to come of what Node says to an address. */
  #remarks: readonly string[] = [];

  constructor(process: ChildProcess, options: { readonly allowsDebuggers: boolean }) {
    this.#process = process;
    this.#allowsDebuggers = options.allowsDebuggers;
  }

  /** As `Member.stack` says. */
  take(signal: AbortSignal): Promise<Stack> {
    return new Promise((resolve) => {
      this.#askers.push(resolve);
      const giveUp = (): void => {
        this.#askers = this.#askers.filter((asker) => asker !== resolve);
        resolve(null);
      };
      signal.addEventListener("abort", giveUp, { once: true });
      this.#open();
    });
  }

  /** Whether a line of the child's standard error is part of this, and nothing for the log. */
  concerns(line: string): boolean {
    const [, address, port] = /^Debugger listening on (ws:.*:(\d+)\/.*)$/.exec(line) ?? [];
    if (address !== undefined) return this.#onAddress(address, Number(port));
    const remark = this.#remarks.find((beginning) => line.startsWith(beginning));
    this.#remarks = this.#remarks.filter((beginning) => beginning !== remark);
    return remark !== undefined;
  }

  #open(): void {
    if (this.#askers.length === 0 || this.#state === "expected" || this.#state === "visited") return;
    // Node's own handler may be gone: somebody in the child has listened to the signal for a while.
    const { pid = -1 } = this.#process;
    if (this.#state === "foreign" || !catchesSignal(pid, "SIGUSR1")) return this.#answer(null);
    this.#state = "expected";
    this.#process.kill("SIGUSR1");
  }

  #onAddress(address: string, port: number): boolean {
    const byChance = !this.#allowsDebuggers && port >= firstPortByChance;
    if (this.#state !== "expected" && !byChance) {
      this.#state = "foreign";
      return false;
    }
    this.#state = "visited";
    this.#remarks = remarks;
    // It ends with the child: then nobody waits for an answer any more.
    void this.#visit(address)
      .catch(() => undefined)
      .then(() => {
        this.#state = "shut";
        this.#open();
      });
    return true;
  }

  async #visit(address: string): Promise<void> {
    const inspector = await InspectorClient.connect(address);
    if (this.#askers.length > 0) this.#answer(await runningStack((expression) => inspector.evaluate(expression)));
    await inspector.shut();
  }

  #answer(stack: Stack): void {
    for (const resolve of this.#askers.splice(0)) resolve(stack);
  }
}
