/** A thing done to a broker or result store at the end of a task. */
export interface Deed {
  readonly does: "sends" | "stores" | "counts" | "acknowledges" | "hands over" | "opens" | "forgets";
  /** Of the task, or of the group that counts a chord; of an acknowledgement the queue; empty where nothing says it. */
  readonly id: string;
}

/** Stops a worker between two steps of its hand-overs. */
export interface Stop extends AsyncDisposable {
  /** Where the worker finds broker and result store. */
  readonly env: Readonly<Record<string, string>>;
  /** Called when the worker is up, before it gets anything. */
  arm?(): Promise<void>;
  /** Resolves when the steps before the cut are made, and the next one cannot be. */
  readonly reached: Promise<void>;
  /** Steps that were not expected, or not then. */
  readonly surprises: readonly string[];
}

/**
 * Lets steps pass in the order they are expected in, wherever they come from, up to the cut: what
 * comes before its turn waits for it, as on a slow link; what comes after the cut waits for ever.
 */
export class Gate {
  readonly surprises: string[] = [];
  readonly reached: Promise<void>;
  readonly #expected: readonly string[];
  readonly #cut: number;
  readonly #mark: string;
  readonly #waiting = new Map<number, () => void>();
  readonly #arrived = new Set<number>();
  #passed = 0;
  #reach: () => void = () => undefined;

  constructor(expected: readonly string[], cut: number, mark: string) {
    this.#expected = expected;
    this.#cut = cut;
    this.#mark = mark;
    this.reached = new Promise((resolve) => {
      this.#reach = resolve;
    });
  }

  /** Resolves when these deeds may be done. */
  async leave(deeds: readonly Deed[]): Promise<void> {
    const names = deeds.map((deed) => nameOf(this.#mark, deed)).filter((name) => name !== null);
    if (names.length === 0) return;
    const name = names.join(" and ");
    const place = this.#expected.findIndex((step, index) => step === name && !this.#arrived.has(index));
    if (place < 0) {
      this.surprises.push(name);
      return;
    }
    this.#arrived.add(place);
    await this.#turn(place);
  }

  #turn(place: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.set(place, resolve);
      this.#go();
    });
  }

  #go(): void {
    for (let next = this.#waiting.get(this.#passed); next !== undefined; next = this.#waiting.get(this.#passed)) {
      if (this.#passed === this.#cut) break;
      this.#passed += 1;
      next();
    }
    const isAtCut = this.#passed === this.#cut;
    if (isAtCut && (this.#cut === this.#expected.length || this.#waiting.has(this.#cut))) this.#reach();
  }
}

/** A deed in the words of the story whose ids begin with `mark`; null for what is of another one. */
export function nameOf(mark: string, { does, id }: Deed): string | null {
  if (does === "acknowledges" || does === "hands over") return id === "" || id === mark ? does : null;
  if (does === "opens" || does === "forgets") return `${does} the chord`;
  return id.startsWith(`${mark}.`) ? `${does} ${id.slice(mark.length + 1)}` : null;
}
