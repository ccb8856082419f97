import { connect } from "amqplib";

/** A message as AMQP carries it, past what a client library finds acceptable. */
export interface RawAmqpMessage {
  readonly headers: Readonly<Record<string, unknown>>;
  readonly properties?: Readonly<Record<string, unknown>>;
  readonly contentType: string;
  readonly contentEncoding: string;
  readonly body: Buffer;
}

export interface RawAmqp extends AsyncDisposable {
  /** Publishes into a queue; resolves when the broker has read it. */
  publish(queue: string, message: RawAmqpMessage): Promise<void>;
}

/** Connects and writes frames by hand: header tables of more than 64 KB and of any depth, as Python sends them. */
export async function rawAmqp(url: string): Promise<RawAmqp> {
  const model = await connect(url, {});
  const channel = await model.createChannel();
  const { stream } = model.connection as unknown as { readonly stream: { write(bytes: Buffer): void } };
  const { ch } = channel as unknown as { readonly ch: number };
  return {
    async publish(queue, { headers, properties = {}, contentType, contentEncoding, body }) {
      const method = [u16(60), u16(40), u16(0), shortText(""), shortText(queue), Buffer.of(0)];
      const correlation = typeof properties.correlation_id === "string" ? properties.correlation_id : null;
      const replyTo = typeof properties.reply_to === "string" ? properties.reply_to : null;
      // content-type, content-encoding, headers, delivery-mode; priority, correlation-id and reply-to are not.
      const flags = 0xf000 | (correlation === null ? 0 : 0x0400) | (replyTo === null ? 0 : 0x0200);
      const fields = [shortText(contentType), shortText(contentEncoding), tableOf(headers), Buffer.of(2)];
      if (correlation !== null) fields.push(shortText(correlation));
      if (replyTo !== null) fields.push(shortText(replyTo));
      const size = Buffer.alloc(8);
      size.writeBigUInt64BE(BigInt(body.length));
      stream.write(frame(1, ch, method));
      stream.write(frame(2, ch, [u16(60), u16(0), size, u16(flags), ...fields]));
      for (let at = 0; at < body.length; at += mostInFrame) {
        stream.write(frame(3, ch, [body.subarray(at, at + mostInFrame)]));
      }
      await channel.checkQueue(queue);
    },
    async [Symbol.asyncDispose]() {
      await model.close();
    },
  };
}

const mostInFrame = 131_072 - 8;

function frame(type: number, channel: number, parts: readonly Buffer[]): Buffer {
  const payload = Buffer.concat(parts);
  return Buffer.concat([Buffer.of(type), u16(channel), u32(payload.length), payload, Buffer.of(0xce)]);
}

function tableOf(table: Readonly<Record<string, unknown>>): Buffer {
  return sized(
    Object.keys(table)
      .filter((key) => table[key] !== undefined)
      .flatMap((key) => [shortText(key), ...fieldOf(table[key])]),
  );
}

function fieldOf(value: unknown): Buffer[] {
  if (value === null) return [Buffer.from("V")];
  if (Array.isArray(value)) return [Buffer.from("A"), sized(value.flatMap(fieldOf))];
  switch (typeof value) {
    case "string":
      return [Buffer.from("S"), sized([Buffer.from(value)])];
    case "boolean":
      return [Buffer.from("t"), Buffer.of(value ? 1 : 0)];
    case "number":
    case "bigint": {
      const long = Buffer.alloc(8);
      long.writeBigInt64BE(BigInt(value));
      return [Buffer.from("L"), long];
    }
    default:
      return [
        Buffer.from("F"),
        value instanceof Uint8Array ? Buffer.from(value) : tableOf(value as Record<string, unknown>),
      ];
  }
}

/** `levels` tables, each in the one before, under the key `a`; put together without recursion. */
export function nestedTable(levels: number): Uint8Array {
  const perLevel = 7;
  const bytes = Buffer.alloc(4 + levels * perLevel);
  for (let level = 0; level < levels; level += 1) {
    const at = level * perLevel;
    bytes.writeUInt32BE((levels - level) * perLevel, at);
    bytes.write("\x01aF", at + 4, "latin1");
  }
  return bytes;
}

const sized = (parts: readonly Buffer[]): Buffer => {
  const content = Buffer.concat(parts);
  return Buffer.concat([u32(content.length), content]);
};
const shortText = (text: string): Buffer => Buffer.concat([Buffer.of(Buffer.byteLength(text)), Buffer.from(text)]);
const u16 = (value: number): Buffer => Buffer.of(value >> 8, value & 0xff);
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
