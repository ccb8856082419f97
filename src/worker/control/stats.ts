import { display } from "../../config/censor.ts";
import { effectiveBrokerUrls } from "../../config/effective.ts";
import type { Settings } from "../../config/settings.ts";
import { type BrokerUrl, maskUrl, parseBrokerUrl } from "../../config/url.ts";
import type { WorkerStats } from "../../control/replies.ts";
import type { Panel } from "./panel.ts";

/** Figures about worker, pool and broker (protocol 10.3). */
export function workerStats(panel: Panel): WorkerStats {
  const { app, state, consumer, autoscaler } = panel;
  return {
    total: Object.fromEntries(state.totals),
    pid: process.pid,
    clock: String(app.clock.value),
    uptime: Math.round((Date.now() - state.startedAt) / 1000),
    pool: poolStats(panel),
    ...(autoscaler === null ? {} : { autoscaler: autoscaler.info() }),
    broker: brokerInfo(app.conf.settings),
    prefetch_count: consumer.prefetchCount,
    rusage: resourceUsage(process.resourceUsage()),
  };
}

/** What the pool says of itself, and what Celery's prefork pool tells of its queues besides. */
function poolStats({ pool, state, options }: Panel): Readonly<Record<string, unknown>> {
  const stats = pool.stats();
  if (pool.kind !== "prefork") return stats;
  const processes = Array.isArray(stats.processes) ? (stats.processes as readonly number[]) : [];
  const writes = processes.flatMap((pid) => state.byChild.get(pid) ?? []);
  const shares = writes.map((count) => (count / Math.max(1, state.processed)).toFixed(2));
  return {
    ...stats,
    timeouts: [options.softTimeLimit ?? 0, options.timeLimit ?? 0],
    writes: {
      total: state.processed,
      avg: (writes.length === 0 ? 0 : 1 / writes.length).toFixed(2),
      all: shares.join(", "),
      raw: writes.join(", "),
      strategy: options.optimization ?? "fair",
      inqueues: { total: processes.length, active: state.active.size },
    },
  };
}

/** The broker's address in kombu's parts, without the password. */
export function brokerInfo(settings: Settings): Readonly<Record<string, unknown>> {
  const [first = "", ...others] = effectiveBrokerUrls(settings, "read");
  const url = parseBrokerUrl(first);
  return {
    ...addressOf(url),
    insist: false,
    ssl: "tls" in url && url.tls !== null,
    transport: url.transport,
    connect_timeout: settings.brokerConnectionTimeout,
    transport_options: tellable(maskedOptions(settings.brokerTransportOptions)),
    login_method: settings.brokerLoginMethod ?? (url.transport === "amqp" ? "PLAIN" : null),
    uri_prefix: null,
    heartbeat: settings.brokerHeartbeat ?? 0,
    failover_strategy:
      typeof settings.brokerFailoverStrategy === "function"
        ? settings.brokerFailoverStrategy.name || "function"
        : (settings.brokerFailoverStrategy ?? "round-robin"),
    alternates: others.map((other) => maskUrl(other)),
    credential_provider: null,
  };
}

interface KombuAddress {
  readonly hostname: string | null;
  readonly userid: string | null;
  readonly virtual_host: string;
  readonly port: number | null;
}

function addressOf(url: BrokerUrl): KombuAddress {
  switch (url.transport) {
    case "amqp":
      return { hostname: url.host, userid: url.username, virtual_host: url.vhost, port: url.port };
    case "redis": {
      const [host, port] =
        url.kind === "tcp"
          ? [url.host, url.port]
          : url.kind === "socket"
            ? [url.path, null]
            : [url.sentinels[0]?.host ?? null, url.sentinels[0]?.port ?? null];
      return { hostname: host, userid: url.username, virtual_host: String(url.db), port };
    }
    case "sqlite":
      return { hostname: null, userid: null, virtual_host: url.path, port: null };
    case "memory":
      return { hostname: null, userid: null, virtual_host: url.name, port: null };
  }
}

/** Options of the transport whose name hints at a secret are not told. */
function maskedOptions(options: unknown): unknown {
  if (Array.isArray(options)) return options.map(maskedOptions);
  if (typeof options !== "object" || options === null) return options;
  return Object.fromEntries(
    Object.entries(options).map(([name, value]) => [
      name,
      /pass|secret|token|credential/i.test(name) ? "********" : maskedOptions(value),
    ]),
  );
}

/** Python's `resource.getrusage`, field for field. */
function resourceUsage(usage: NodeJS.ResourceUsage): Readonly<Record<string, number>> {
  return {
    utime: usage.userCPUTime / 1e6,
    stime: usage.systemCPUTime / 1e6,
    maxrss: usage.maxRSS,
    ixrss: usage.sharedMemorySize,
    idrss: usage.unsharedDataSize,
    isrss: usage.unsharedStackSize,
    minflt: usage.minorPageFault,
    majflt: usage.majorPageFault,
    nswap: usage.swappedOut,
    inblock: usage.fsRead,
    oublock: usage.fsWrite,
    msgsnd: usage.ipcSent,
    msgrcv: usage.ipcReceived,
    nsignals: usage.signalsCount,
    nvcsw: usage.voluntaryContextSwitches,
    nivcsw: usage.involuntaryContextSwitches,
  };
}

/** A value as a reply can hold it: what JSON has no word for is shown as text. */
export function tellable(value: unknown): unknown {
  if (value === null || typeof value === "string" || typeof value === "boolean" || typeof value === "number")
    return value;
  if (Array.isArray(value)) return value.map(tellable);
  if (typeof value === "object" && [Object.prototype, null].includes(Object.getPrototypeOf(value) as never)) {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, tellable(inner)]));
  }
  return value === undefined ? null : display(value);
}
