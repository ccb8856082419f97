import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { Redis } from "ioredis";
import { chordPartScript, setScript, storeScript } from "../../src/backend/redis/scripts.ts";
import {
  handOverScript,
  inDatabase,
  type RedisScript,
  routeScript,
  turnScript,
} from "../../src/broker/redis/scripts.ts";
import { listenInPlaceOf } from "../helpers/in-place-of.ts";
import type { Deed } from "./steps.ts";

/** What one message of a client asks of a server, and where its bytes end. */
interface Said {
  readonly end: number;
  /** The deeds it does in one; empty for what is no part of a hand-over. */
  readonly deeds: readonly Deed[];
}

/** Reads what stands at the beginning of a client's bytes; null while it is not whole. */
type Reader = (bytes: Buffer) => Said | null;

/** A link to a server on which each deed of a hand-over waits for leave. */
export interface StepProxy extends AsyncDisposable {
  /** The server's URL with the proxy's host and port in it. */
  readonly url: string;
}

/**
 * Opens a proxy before the server of `url`. What the client says is passed on in order, message by
 * message; one with a deed in it only when `leave` resolves. What waits for leave when the client is
 * gone is never passed on.
 */
export async function startStepProxy(
  url: string,
  leave: (deeds: readonly Deed[]) => Promise<void>,
): Promise<StepProxy> {
  const target = new URL(url);
  const isAmqp = target.protocol.startsWith("amqp");
  const port = Number(target.port || (isAmqp ? 5672 : 6379));
  const sockets = new Set<Socket>();
  const listener = createServer({ noDelay: true }, (client) => {
    const server = connect({ port, host: target.hostname, noDelay: true });
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => sockets.delete(socket));
    }
    server.pipe(client);
    // Not destroyed: what was passed on is to arrive.
    client.on("close", () => server.end());
    void passOn(client, server, isAmqp ? amqpReader() : readRedis, leave).catch(() => undefined);
  });
  const proxied = await listenInPlaceOf(url, listener);
  return {
    url: proxied.href,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      listener.close();
      if (listener.listening) await once(listener, "close");
    },
  };
}

async function passOn(
  client: Socket,
  server: Socket,
  read: Reader,
  leave: (deeds: readonly Deed[]) => Promise<void>,
): Promise<void> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of client as AsyncIterable<Buffer>) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let said = read(rest); said !== null; said = read(rest)) {
      if (said.deeds.length > 0) await leave(said.deeds);
      server.write(rest.subarray(0, said.end));
      rest = rest.subarray(said.end);
    }
  }
}

// ── Redis ────────────────────────────────────────────────────────────────────

const scriptNames = new Map<string, string>();
const scriptTexts = new Set<string>();
for (const [name, script] of Object.entries({
  store: storeScript,
  count: chordPartScript,
  set: setScript,
  turn: turnScript,
  route: routeScript,
  handOver: handOverScript,
})) {
  const forms: RedisScript[] = [script, ...[0, 1, 2].map((db) => inDatabase(script, db))];
  for (const { sha, text } of forms) {
    scriptNames.set(sha, name);
    scriptTexts.add(text);
  }
}

/** Has a server know the scripts, so that each is called once: a script it does not know is sent a second time. */
export async function loadScripts(url: string): Promise<void> {
  const client = new Redis(url);
  for (const text of scriptTexts) await client.script("LOAD", text);
  client.disconnect();
}

/** One command: an array of strings, as every client sends it. */
const readRedis: Reader = (bytes) => {
  const header = line(bytes, 0);
  if (header === null) return null;
  if (header.text[0] !== "*") return { end: header.end, deeds: [] };
  const words: string[] = [];
  let at = header.end;
  for (let left = Number(header.text.slice(1)); left > 0; left -= 1) {
    const size = line(bytes, at);
    if (size === null) return null;
    const end = size.end + Number(size.text.slice(1));
    if (bytes.length < end + 2) return null;
    words.push(bytes.toString("utf8", size.end, end));
    at = end + 2;
  }
  return { end: at, deeds: deedsOf(words) };
};

function line(bytes: Buffer, at: number): { readonly text: string; readonly end: number } | null {
  const end = bytes.indexOf("\r\n", at);
  return end < 0 ? null : { text: bytes.toString("latin1", at, end), end: end + 2 };
}

function deedsOf([command = "", ...words]: readonly string[]): Deed[] {
  switch (command.toLowerCase()) {
    case "lpush":
      return words.slice(1).flatMap(sending);
    case "del":
      return words.flatMap((key) => chordOf(key, ".j", "forgets"));
    case "evalsha": {
      const [script = "", count = "", ...more] = words;
      return deedsOfScript(scriptNames.get(script), more.slice(0, Number(count)), more.slice(Number(count)));
    }
    default:
      return [];
  }
}

function deedsOfScript(name: string | undefined, keys: readonly string[], args: readonly string[]): Deed[] {
  switch (name) {
    case "store":
      return keys.map((key) => ({ does: "stores", id: key.replace(/^celery-task-meta-/, "") }));
    case "count":
      return [{ does: "counts", id: args[0] as string }];
    case "set":
      return keys.flatMap((key) => chordOf(key, ".s", "opens"));
    case "turn":
      return Number(args[2]) > 0 ? [{ does: "acknowledges", id: "" }] : [];
    case "route":
      return args.flatMap(sending);
    case "handOver":
      return [{ does: "hands over", id: "" }];
    default:
      return [];
  }
}

/** A task message on its way into a list, or nothing. */
function sending(text: string): Deed[] {
  if (!text.startsWith("{")) return [];
  const { headers } = JSON.parse(text) as { readonly headers?: { readonly id?: unknown; readonly task?: unknown } };
  return headers?.task === undefined ? [] : [{ does: "sends", id: String(headers.id) }];
}

function chordOf(key: string, suffix: string, does: Deed["does"]): Deed[] {
  const match = /^celery-taskset-meta-(.*)(\.\w)$/.exec(key);
  return match?.[2] === suffix ? [{ does, id: match[1] as string }] : [];
}

// ── RabbitMQ ─────────────────────────────────────────────────────────────────

const basic = 60 * 65_536;
const [consume, publish, ack] = [basic + 20, basic + 40, basic + 80];

/** One frame; of a message, all that belong to it. */
function amqpReader(): Reader {
  let greeted = false;
  /** What is consumed on each channel. */
  const queues = new Map<number, string>();
  return (bytes) => {
    if (!greeted) {
      if (bytes.length < 8) return null;
      greeted = true;
      return { end: 8, deeds: [] };
    }
    const first = frameAt(bytes, 0);
    if (first === null) return null;
    const method = first.type === 1 ? first.payload.readUInt32BE(0) : 0;
    if (method === consume) queues.set(first.channel, first.payload.toString("utf8", 7, 7 + Number(first.payload[6])));
    const queue = queues.get(first.channel);
    if (method === ack && queue !== undefined) {
      return { end: first.end, deeds: [{ does: "acknowledges", id: queue }] };
    }
    return method === publish ? readContent(bytes, first.end) : { end: first.end, deeds: [] };
  };
}

interface Frame {
  readonly type: number;
  readonly channel: number;
  readonly payload: Buffer;
  readonly end: number;
}

function frameAt(bytes: Buffer, at: number): Frame | null {
  if (bytes.length < at + 7) return null;
  const end = at + 8 + bytes.readUInt32BE(at + 3);
  if (bytes.length < end) return null;
  const payload = bytes.subarray(at + 7, end - 1);
  return { type: bytes[at] as number, channel: bytes.readUInt16BE(at + 1), payload, end };
}

/** amqplib writes the frames of a message one after another, with none of another channel between them. */
function readContent(bytes: Buffer, at: number): Said | null {
  const header = frameAt(bytes, at);
  if (header === null) return null;
  const parts: Buffer[] = [];
  let end = header.end;
  for (let left = Number(header.payload.readBigUInt64BE(4)); left > 0; ) {
    const frame = frameAt(bytes, end);
    if (frame === null) return null;
    parts.push(frame.payload);
    left -= frame.payload.length;
    end = frame.end;
  }
  const id = textField(header.payload, "id");
  if (id !== null && textField(header.payload, "task") !== null) return { end, deeds: [{ does: "sends", id }] };
  return { end, deeds: storing(Buffer.concat(parts).toString("utf8")) };
}

/** A result on its way to a reply queue, or nothing. */
function storing(body: string): Deed[] {
  const id = /"task_id": ?"([^"]+)"/.exec(body)?.[1];
  return id !== undefined && body.includes('"status"') ? [{ does: "stores", id }] : [];
}

/** A text of the headers' table: its name, `S`, its length, itself. */
function textField(header: Buffer, name: string): string | null {
  const key = Buffer.concat([Buffer.of(name.length), Buffer.from(`${name}S`)]);
  const at = header.indexOf(key);
  if (at < 0) return null;
  const from = at + key.length + 4;
  return header.toString("utf8", from, from + header.readUInt32BE(from - 4));
}
