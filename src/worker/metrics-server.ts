import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { ImproperlyConfigured } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Service } from "../util/service.ts";

/** How the worker is. */
export interface Health {
  /** False when the process had better be replaced. */
  readonly live: () => boolean;
  /** Why it takes no tasks; null when it does. */
  readonly ready: () => string | null;
}

export interface MetricsServerParts {
  /** 0 takes a free one. */
  readonly port: number;
  readonly host: string;
  readonly health: Health;
  /** All figures, in Prometheus's text format. */
  readonly metrics: () => Promise<string>;
  readonly logger: Logger;
}

/** Ready means consuming: connected, subscribed, and not on the way down. Pure. */
export function notReady(worker: {
  readonly connected: boolean;
  readonly consuming: boolean;
  readonly phase: string;
}): string | null {
  if (worker.phase !== "running") return "stopping";
  if (!worker.connected) return "not connected to the broker";
  return worker.consuming ? null : "not consuming";
}

/**
 * Serves `/metrics`, `/livez` and `/readyz` while the worker lives, from before it is ready until
 * all else has stopped. `/livez` and `/readyz` ask nobody and cost next to nothing.
 */
export class MetricsServer implements Service {
  readonly name = "metrics";
  readonly #parts: MetricsServerParts;
  readonly #server: Server;

  constructor(parts: MetricsServerParts) {
    this.#parts = parts;
    this.#server = createServer((request, response) => void this.#answer(request, response));
    this.#server.requestTimeout = 10_000;
    this.#server.headersTimeout = 5_000;
    this.#server.keepAliveTimeout = 5_000;
    this.#server.maxConnections = 64;
  }

  async start(): Promise<void> {
    const { port, host, logger } = this.#parts;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", (error: NodeJS.ErrnoException) =>
        reject(
          new ImproperlyConfigured(
            `metrics cannot be served on ${host}:${port} (${error.code ?? error.message}): give another --metrics-port or --metrics-host`,
          ),
        ),
      );
      this.#server.listen(port, host, resolve);
    });
    const { address, port: taken } = this.#server.address() as AddressInfo;
    logger.info("metrics: http://%s:%d/metrics", address.includes(":") ? `[${address}]` : address, taken);
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { health, metrics, logger } = this.#parts;
    const path = (request.url ?? "").split("?", 1)[0];
    if (request.method !== "GET" && request.method !== "HEAD") return send(response, 405, "only GET\n");
    switch (path) {
      case "/livez":
        return health.live() ? send(response, 200, "ok\n") : send(response, 503, "stopped\n");
      case "/readyz": {
        const why = health.ready();
        return why === null ? send(response, 200, "ok\n") : send(response, 503, `${why}\n`);
      }
      case "/metrics":
        try {
          return send(response, 200, await metrics(), "text/plain; version=0.0.4; charset=utf-8");
        } catch (error) {
          logger.error({ err: error as Error }, "metrics could not be gathered");
          return send(response, 500, "metrics could not be gathered\n");
        }
      default:
        return send(response, 404, "there are /metrics, /livez and /readyz\n");
    }
  }
}

function send(response: ServerResponse, status: number, text: string, type = "text/plain; charset=utf-8"): void {
  response.writeHead(status, {
    "content-type": type,
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
  });
  response.end(text);
}
