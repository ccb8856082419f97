import type { Logger } from "../../log.ts";
import { Guard } from "../../system/guard.ts";
import type { MemberMaker } from "../crew/member.ts";
import { Child } from "./child.ts";
import { ClaimsMaker } from "./claims.ts";
import type { ChildBirth } from "./ipc.ts";

export interface ProcessMakerOptions {
  readonly birth: Omit<ChildBirth, "index" | "name" | "claims">;
  readonly logger: Logger;
}

/** Makes the child processes of the prefork pool, and keeps what they share. */
export class ProcessMaker implements Disposable {
  readonly #options: ProcessMakerOptions;
  readonly #guard = new Guard();
  readonly #claims: ClaimsMaker | undefined;

  constructor(options: ProcessMakerOptions) {
    this.#options = options;
    this.#claims = claimsIfPossible(options.logger);
  }

  /** Whether what a child has not begun can be taken back from it. */
  get takesBack(): boolean {
    return this.#claims !== undefined;
  }

  readonly make: MemberMaker = (identity, events) => {
    const { birth } = this.#options;
    const claims = this.#claims?.make();
    const parts = { guard: this.#guard, ...(claims ? { claims } : {}) };
    return new Child({ ...birth, ...identity, claims: claims !== undefined }, events, parts);
  };

  [Symbol.dispose](): void {
    this.#guard.close();
    this.#claims?.close();
  }
}

function claimsIfPossible(logger: Logger): ClaimsMaker | undefined {
  const maker = new ClaimsMaker();
  try {
    maker.stockUp();
    return maker;
  } catch (error) {
    logger.warn("there are no named pipes here: tasks are not handed out in batches (%s)", String(error));
    return undefined;
  }
}
