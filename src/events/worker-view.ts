import type { ReceivedEvent } from "../protocol/event.ts";

/** Heartbeats remembered, as in Celery. */
const heartbeatsKept = 4;

/** A worker is taken for gone when it was silent for this many of its intervals. */
const silentIntervals = 2;

/** Seconds between a message's own time and its arrival beyond which clocks are said to disagree. */
const substantialDrift = 16;

/** A worker as its events show it (protocol 12.4). */
export class WorkerView {
  readonly hostname: string;
  pid: number | null = null;
  /** Seconds between its heartbeats. */
  freq = 60;
  /** When the last ones came in, oldest first; seconds since 1970 by the watcher's clock. */
  readonly heartbeats: number[] = [];
  clock = 0;
  active: number | null = null;
  processed: number | null = null;
  loadavg: readonly number[] | null = null;
  swIdent: string | null = null;
  swVer: string | null = null;
  swSys: string | null = null;

  constructor(hostname: string) {
    this.hostname = hostname;
  }

  /** `hostname.pid`: one life of the node. */
  get id(): string {
    return `${this.hostname}.${this.pid ?? "None"}`;
  }

  /** When it will be taken for gone; seconds since 1970. */
  get heartbeatExpires(): number {
    return (this.heartbeats.at(-1) ?? Number.NEGATIVE_INFINITY) + this.freq * silentIntervals;
  }

  aliveAt(now: Date): boolean {
    return now.getTime() / 1000 < this.heartbeatExpires;
  }

  get alive(): boolean {
    return this.aliveAt(new Date());
  }

  get statusString(): "ONLINE" | "OFFLINE" {
    return this.alive ? "ONLINE" : "OFFLINE";
  }

  /** One of its own events. Says how far the clocks disagree, in seconds, where that is too much; else null. */
  event(subject: string, event: ReceivedEvent): number | null {
    this.#learn(event);
    if (subject === "offline") {
      this.heartbeats.length = 0;
      return null;
    }
    return this.heard(event);
  }

  /** Whatever a node sends shows that it lives. */
  heard({ local_received: received, timestamp }: Pick<ReceivedEvent, "local_received" | "timestamp">): number | null {
    if (this.heartbeats.length >= heartbeatsKept) this.heartbeats.shift();
    this.heartbeats.push(received);
    if (this.heartbeats.length > 1) this.heartbeats.sort((a, b) => a - b);
    const drift = Math.abs(Math.trunc(received) - Math.trunc(timestamp));
    return drift > substantialDrift ? drift : null;
  }

  /** A field of the wrong kind is left as it was: one odd sender must not blind the watcher. */
  #learn(event: ReceivedEvent): void {
    const { pid, freq, active, processed, loadavg, sw_ident: ident, sw_ver: ver, sw_sys: sys } = event;
    if (typeof pid === "number") this.pid = pid;
    if (typeof freq === "number" && freq > 0) this.freq = freq;
    if (typeof active === "number") this.active = active;
    if (typeof processed === "number") this.processed = processed;
    if (Array.isArray(loadavg)) this.loadavg = loadavg as readonly number[];
    if (typeof ident === "string") this.swIdent = ident;
    if (typeof ver === "string") this.swVer = ver;
    if (typeof sys === "string") this.swSys = sys;
    this.clock = event.clock;
  }
}
