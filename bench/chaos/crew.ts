import { fileURLToPath } from "node:url";
import { startWorker, type WorkerHandle } from "../../test/helpers/worker.ts";
import type { Dice } from "./dice.ts";

/** A worker of the ordeal. */
export interface Member {
  /** Its node name, never given twice. */
  readonly host: string;
  readonly pid: number;
  readonly handle: WorkerHandle;
}

export interface CrewOptions {
  readonly size: number;
  readonly concurrency: number;
  readonly env: Readonly<Record<string, string>>;
}

/** The workers there are. Who falls is replaced; their last words are kept. */
export class Crew implements AsyncDisposable {
  readonly #options: CrewOptions;
  readonly #logs: (() => string)[] = [];
  #members: readonly Member[] = [];
  #hired = 0;

  constructor(options: CrewOptions) {
    this.#options = options;
  }

  get members(): readonly Member[] {
    return this.#members;
  }

  /** The end of what each worker has said so far. */
  get log(): string {
    return this.#logs.map((log) => log()).join("\n");
  }

  async start(): Promise<void> {
    this.#members = Array.from({ length: this.#options.size }, () => this.#hire());
    await Promise.all(this.#members.map(({ handle }) => handle.ready({ timeout: 60 })));
  }

  anyone(dice: Dice): Member {
    return dice.pick(this.#members) as Member;
  }

  /** Starts another one in this one's place; does not wait for it. */
  async replace(member: Member): Promise<Member> {
    const fresh = this.#hire();
    this.#members = this.#members.map((one) => (one === member ? fresh : one));
    return fresh;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#members.map(({ handle }) => handle.stop({ timeout: 20 })));
  }

  #hire(): Member {
    this.#hired += 1;
    const host = `w${this.#hired}@chaos`;
    const { concurrency, env } = this.#options;
    const app = fileURLToPath(new URL("app.ts", import.meta.url));
    const handle = startWorker({ app, args: ["-c", String(concurrency), "-n", host], env });
    this.#logs.push(
      () =>
        `── ${host}\n${handle.lines
          .filter((line) => !/ (received|succeeded in .*)$/.test(line))
          .slice(-40)
          .join("\n")}`,
    );
    return { host, pid: handle.pid, handle };
  }
}
