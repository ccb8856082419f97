import type { Message } from "../../protocol/message.ts";
import { Heap } from "../../util/heap.ts";
import { formatIso, parseIso } from "../../util/iso8601.ts";
import { bindingMatches } from "../binding.ts";
import type { Address, Exchange, Queue } from "../broker.ts";
import type { LocateOptions, Whereabouts } from "../whereabouts.ts";
import type { Entry } from "./entry.ts";
import { Graves } from "./graves.ts";
import { Line } from "./line.ts";
import { MemoryNotes } from "./notes.ts";

function moved(entry: Entry, ms: number): Entry {
  const { headers } = entry.message;
  const earlier = (time: unknown): unknown =>
    typeof time === "string" ? formatIso(new Date(parseIso(time).getTime() - ms)) : time;
  return {
    ...entry,
    message: {
      ...entry.message,
      headers: { ...headers, eta: earlier(headers.eta), expires: earlier(headers.expires) },
    },
  };
}

interface QueueState {
  readonly line: Line;
  readonly autoDelete: boolean;
  consumers: number;
}

interface ExchangeState {
  readonly type: Exchange["type"];
  readonly bindings: { readonly key: string; readonly queue: string }[];
}

/** What one subscription holds. */
export interface Hold {
  readonly node: string;
  readonly held: ReadonlySet<Entry>;
}

/** Whoever wants to know that something may be taken. Called in the tick in which it came; must not take at once. */
export type Waiter = () => void;

/**
 * The messages of all memory brokers that share a name: plain data and the rules of moving it.
 * Lives as long as the process; holds no timer while no broker is attached.
 */
export class MemoryStore {
  readonly #queues = new Map<string, QueueState>();
  readonly #exchanges = new Map<string, ExchangeState>();
  readonly #waiters = new Set<Waiter>();
  readonly #holds = new Set<Hold>();
  readonly #parked = new Heap<{ readonly due: number; readonly order: number; readonly entry: Entry }>(
    (a, b) => a.due < b.due || (a.due === b.due && a.order < b.order),
  );
  readonly revokes = new MemoryNotes();
  readonly dead = new Graves();
  readonly shelf = new Graves();
  #serial = 0;
  #attached = 0;
  #alarm: NodeJS.Timeout | undefined;

  attach(): void {
    this.#attached += 1;
    this.#setAlarm();
  }

  detach(): void {
    this.#attached -= 1;
    this.#setAlarm();
  }

  onArrival(waiter: Waiter): void {
    this.#waiters.add(waiter);
  }

  offArrival(waiter: Waiter): void {
    this.#waiters.delete(waiter);
  }

  holds(hold: Hold): void {
    this.#holds.add(hold);
  }

  holdsNoMore(hold: Hold): void {
    this.#holds.delete(hold);
  }

  /** Where the messages of these tasks are. */
  locate({ ids, queues }: LocateOptions): ReadonlyMap<string, Whereabouts> {
    const wanted = new Set(ids);
    const places = new Map<string, Whereabouts>();
    const found = ({ message }: Entry, place: Whereabouts): void => {
      const id = String(message.headers.id);
      if (wanted.has(id) && !places.has(id)) places.set(id, place);
    };
    for (const queue of new Set(queues)) {
      for (const entry of this.#queues.get(queue)?.line ?? []) found(entry, { kind: "waiting", queue });
    }
    for (const { node, held } of this.#holds) {
      for (const entry of held) found(entry, { kind: "held", queue: entry.queue, node, until: null });
    }
    for (const { due, entry } of this.#parked) {
      found(entry, { kind: "parked", queue: entry.queue, due: new Date(due) });
    }
    for (const { id, entry } of [...this.dead.all, ...this.shelf.all]) {
      found(entry, { kind: "dead", queue: entry.queue, letter: id });
    }
    return places;
  }

  declare(queue: Queue): void {
    this.#stateOf(queue.name, queue.autoDelete);
    const { name, type } = queue.exchange;
    if (name === "") return;
    const exchange = this.#exchanges.get(name) ?? { type, bindings: [] };
    this.#exchanges.set(name, exchange);
    if (!exchange.bindings.some(({ key, queue: bound }) => key === queue.routingKey && bound === queue.name)) {
      exchange.bindings.push({ key: queue.routingKey, queue: queue.name });
    }
  }

  /** False when the exchange is not known: nobody has declared it, so the message can go nowhere. */
  publish(message: Message, address: Address): boolean {
    const exchange = address.exchange === "" ? undefined : this.#exchanges.get(address.exchange);
    if (address.exchange !== "" && exchange === undefined) return false;
    const targets = exchange
      ? new Set(
          exchange.bindings
            .filter(({ key }) => bindingMatches(exchange.type, key, address.routingKey))
            .map(({ queue }) => queue),
        )
      : [address.routingKey];
    const priority = Math.min(9, Math.max(0, Math.trunc(Number(message.properties.priority ?? 0)) || 0));
    for (const queue of targets) {
      this.#stateOf(queue).line.push({ message, address, queue, priority, redelivered: false });
    }
    this.#announce();
    return true;
  }

  take(queue: string): Entry | undefined {
    return this.#queues.get(queue)?.line.shift();
  }

  peek(queue: string): Message | null {
    return this.#queues.get(queue)?.line.peek()?.message ?? null;
  }

  get parked(): number {
    return this.#parked.size;
  }

  /** The soonest due of those parked for these queues. */
  parkedFor(queues: ReadonlySet<string>, limit: number): readonly { readonly due: number; readonly entry: Entry }[] {
    return [...this.#parked]
      .filter(({ entry }) => queues.has(entry.queue))
      .sort((a, b) => a.due - b.due || a.order - b.order)
      .slice(0, limit);
  }

  size(queue: string): number {
    return this.#queues.get(queue)?.line.size ?? 0;
  }

  purge(queue: string): number {
    return this.#queues.get(queue)?.line.clear() ?? 0;
  }

  delete(queue: string): void {
    this.#queues.delete(queue);
    for (const { bindings } of this.#exchanges.values()) {
      for (let index = bindings.length - 1; index >= 0; index -= 1) {
        if (bindings[index]?.queue === queue) bindings.splice(index, 1);
      }
    }
  }

  consumerCame(queue: string): void {
    this.#stateOf(queue).consumers += 1;
  }

  /** The last consumer of an auto-delete queue takes the queue with it. */
  consumerWent(queue: string): void {
    const state = this.#queues.get(queue);
    if (!state) return;
    state.consumers -= 1;
    if (state.autoDelete && state.consumers <= 0) this.delete(queue);
  }

  /** What was held returns to the front of its queues, in the order given. */
  giveBack(entries: readonly Entry[]): void {
    for (const entry of [...entries].reverse()) {
      entry.redelivered = true;
      this.#queues.get(entry.queue)?.line.unshift(entry);
    }
    this.#announce();
  }

  requeue(entry: Entry, headers: Entry["message"]["headers"] = {}): void {
    const message = { ...entry.message, headers: { ...entry.message.headers, ...headers } };
    this.#stateOf(entry.queue).line.push({ ...entry, message, redelivered: true });
    this.#announce();
  }

  park(entry: Entry, due: number): void {
    this.#serial += 1;
    this.#parked.push({ due, order: this.#serial, entry });
    this.#setAlarm();
  }

  /** Brings the times of all that waits so much nearer: eta, expiry, and when the parked come back. */
  travel(ms: number): void {
    for (const { line } of this.#queues.values()) {
      const entries = Array.from({ length: line.size }, () => line.shift() as Entry);
      for (const entry of entries) line.push(moved(entry, ms));
    }
    const parked = [];
    for (let next = this.#parked.pop(); next; next = this.#parked.pop()) parked.push(next);
    for (const { due, order, entry } of parked) this.#parked.push({ due: due - ms, order, entry: moved(entry, ms) });
    this.#wakeParked();
  }

  #stateOf(name: string, autoDelete = false): QueueState {
    const state = this.#queues.get(name) ?? { line: new Line(), autoDelete, consumers: 0 };
    this.#queues.set(name, state);
    return state;
  }

  #announce(): void {
    for (const waiter of this.#waiters) waiter();
  }

  #setAlarm(): void {
    clearTimeout(this.#alarm);
    const next = this.#parked.peek();
    if (!next || this.#attached === 0) return;
    // A day at most: longer timers overflow. Nothing due yet just sets the alarm again.
    const wait = Math.min(Math.max(next.due - Date.now(), 0), 86_400_000);
    this.#alarm = setTimeout(() => this.#wakeParked(), wait).unref();
  }

  #wakeParked(): void {
    for (let next = this.#parked.peek(); next && next.due <= Date.now(); next = this.#parked.peek()) {
      this.#parked.pop();
      this.#stateOf(next.entry.queue).line.push(next.entry);
    }
    this.#announce();
    this.#setAlarm();
  }
}
