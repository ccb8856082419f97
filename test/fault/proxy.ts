import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { listenInPlaceOf } from "../helpers/in-place-of.ts";

/** A TCP link between a client and a server that fails when it is told to. */
export interface Proxy extends AsyncDisposable {
  readonly port: number;
  /** The target's URL with the proxy's host and port in it. */
  readonly url: string;
  /** Links open now. */
  readonly connections: number;
  /** Bytes that went from server to client so far. */
  readonly bytesToClient: number;
  /** Breaks every link with a reset and refuses new ones, as a server that is gone, until `restore`. */
  cut(): void;
  /** Breaks every link with a reset; new ones are served. */
  reset(): void;
  /** Holds everything back in both directions, in links open and new, until `restore`; nothing is lost. */
  stall(): void;
  /** Swallows everything in both directions and accepts new links without answering, as a firewall that drops. */
  blackHole(): void;
  /** Passes on what clients say and swallows every answer: the server does things nobody hears of. */
  mute(): void;
  /** The links open now swallow everything and never break, as when a router forgets them; new ones are served. */
  forget(): void;
  /** Serves again. Links that swallowed bytes are broken: their streams have holes. */
  restore(): void;
}

type Mode = "pass" | "cut" | "stall" | "blackHole" | "mute";

interface Link {
  readonly client: Socket;
  readonly server: Socket;
  holes: boolean;
  forgotten: boolean;
}

/** Opens a proxy on a free port before the server of `url`, which must name host and port (or be redis or amqp). */
export async function startProxy(url: string): Promise<Proxy> {
  const target = new URL(url);
  const defaultPort = target.protocol.startsWith("amqp") ? 5672 : 6379;
  const port = target.port === "" ? defaultPort : Number(target.port);
  const links = new Set<Link>();
  let mode: Mode = "pass";
  let bytesToClient = 0;

  const forward = (link: Link, from: Socket, to: Socket): void => {
    from.on("data", (chunk) => {
      if (mode === "blackHole" || link.forgotten || (mode === "mute" && to === link.client)) {
        link.holes = true;
        return;
      }
      if (to === link.client) bytesToClient += chunk.length;
      if (!to.write(chunk)) from.pause();
    });
    to.on("drain", () => {
      if (mode !== "stall") from.resume();
    });
    from.on("end", () => {
      if (mode === "pass" && !link.forgotten) to.end();
    });
    from.on("error", () => undefined);
    from.on("close", () => {
      if ((mode !== "pass" && mode !== "cut") || link.forgotten) return;
      to.destroy();
      links.delete(link);
    });
  };
  const breakLink = (link: Link): void => {
    link.client.resetAndDestroy();
    link.server.resetAndDestroy();
    links.delete(link);
  };

  const listener = createServer({ noDelay: true }, (client) => {
    if (mode === "cut") {
      client.on("error", () => undefined);
      client.resetAndDestroy();
      return;
    }
    const server = connect({ port, host: target.hostname, noDelay: true });
    const link: Link = { client, server, holes: false, forgotten: false };
    links.add(link);
    forward(link, client, server);
    forward(link, server, client);
    if (mode === "stall") {
      client.pause();
      server.pause();
    }
  });
  const proxied = await listenInPlaceOf(url, listener);
  return {
    port: Number(proxied.port),
    url: proxied.href,
    get connections() {
      return links.size;
    },
    get bytesToClient() {
      return bytesToClient;
    },
    cut() {
      mode = "cut";
      for (const link of [...links]) breakLink(link);
    },
    reset() {
      for (const link of [...links]) breakLink(link);
    },
    stall() {
      mode = "stall";
      for (const { client, server } of links) {
        client.pause();
        server.pause();
      }
    },
    blackHole() {
      mode = "blackHole";
    },
    forget() {
      for (const link of links) link.forgotten = true;
    },
    mute() {
      mode = "mute";
    },
    restore() {
      mode = "pass";
      for (const link of [...links]) {
        if (link.holes || link.client.destroyed || link.server.destroyed) {
          breakLink(link);
          continue;
        }
        link.client.resume();
        link.server.resume();
      }
    },
    async [Symbol.asyncDispose]() {
      for (const link of [...links]) breakLink(link);
      listener.close();
      if (listener.listening) await once(listener, "close");
    },
  };
}
