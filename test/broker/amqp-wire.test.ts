import { readFileSync } from "node:fs";
import type { Message as AmqpMessage } from "amqplib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Ack, planAcks } from "../../src/broker/amqp/acks.ts";
import { healHeaderFrame } from "../../src/broker/amqp/heal.ts";
import { delayRoute, longestWaitMs } from "../../src/broker/amqp/parking.ts";
import {
  copyOf,
  detourHeader,
  detourOf,
  encodeTable,
  publishOptions,
  readMessage,
} from "../../src/broker/amqp/wire.ts";
import { messageOf } from "../contract/broker.ts";

const received = (
  headers: Record<string, unknown>,
  fields: Partial<AmqpMessage["fields"]> = {},
  properties: Record<string, unknown> = {},
): AmqpMessage => ({
  content: Buffer.from("[]"),
  fields: { deliveryTag: 1, redelivered: false, exchange: "", routingKey: "q", ...fields },
  properties: { contentType: "application/json", headers, ...properties } as AmqpMessage["properties"],
});
const read = (raw: AmqpMessage) => readMessage(raw, "celery", 1_000_000);

describe("header tables", () => {
  test("integers are written as 32 or 64 bits, fractions as doubles, as py-amqp does", () => {
    expect(encodeTable({ a: 0, b: -5, c: 2 ** 31 - 1, d: 2 ** 31, e: -(2 ** 40), f: 1.5, g: 1e300, h: 5n })).toEqual({
      a: { "!": "int", value: 0 },
      b: { "!": "int", value: -5 },
      c: { "!": "int", value: 2 ** 31 - 1 },
      d: { "!": "long", value: 2 ** 31 },
      e: { "!": "long", value: -(2 ** 40) },
      f: { "!": "double", value: 1.5 },
      g: { "!": "double", value: 1e300 },
      h: { "!": "long", value: 5n },
    });
  });

  test("nothing but numbers changes: null, lists, maps, text and booleans go as they are", () => {
    const table = { n: null, l: ["a", null, ["b"]], m: { k: "v" }, t: "x", b: true };
    expect(encodeTable({ ...table, gone: undefined })).toEqual(table);
  });

  test("a key named ! or __proto__ is data, both ways", () => {
    const headers = JSON.parse('{"__proto__": {"task": "evil"}, "deep": {"!": "int", "value": "x"}}') as Record<
      string,
      unknown
    >;
    const encoded = encodeTable(headers);
    expect(Object.keys(encoded)).toEqual(["__proto__", "deep"]);
    // Not its own, so amqplib does not take it for a typed value; still enumerated.
    expect(Object.hasOwn(encoded.deep as object, "!")).toBe(false);
    const keys: string[] = [];
    for (const key in encoded.deep as object) keys.push(key);
    expect(keys).toEqual(["!", "value"]);
    const { message } = read(received(headers));
    expect(message.headers.task).toBeUndefined();
    expect(Object.keys(message.headers)).toEqual(["__proto__", "deep"]);
  });

  test("dates, decimals and bytes of other clients are read as plain data and copied with their types", () => {
    const raw = received({
      when: { "!": "timestamp", value: 1_577_836_800 },
      price: { "!": "decimal", value: { places: 1, digits: 15 } },
      bytes: Buffer.from("ab"),
    });
    expect(read(raw).message.headers).toEqual({ when: "2020-01-01T00:00:00.000Z", price: 1.5, bytes: "ab" });
    expect(copyOf(raw, read(raw), {}).options.headers).toMatchObject({
      when: { "!": "timestamp", value: 1_577_836_800 },
      price: { "!": "decimal" },
      bytes: Buffer.from("ab"),
    });
  });
});

describe("messages", () => {
  test("are published with the properties Celery sends, priority 0 included", () => {
    const frame = fixturePublish("amqp_task_plain");
    const { content_type, content_encoding, headers, ...properties } = frame.properties;
    const options = publishOptions({
      headers: headers as Record<string, unknown>,
      properties,
      contentType: String(content_type),
      contentEncoding: String(content_encoding),
      body: "",
    });
    expect(options).toMatchObject({
      contentType: "application/json",
      contentEncoding: "utf-8",
      deliveryMode: 2,
      priority: 0,
      correlationId: properties.correlation_id,
      replyTo: properties.reply_to,
    });
    expect(Object.keys(options.headers)).toEqual(Object.keys(headers as object));
    expect(options.headers.retries).toEqual({ "!": "int", value: 0 });
    expect(options.headers.timelimit).toEqual([null, null]);
  });

  test("a priority that does not fit its byte is taken for the nearest that does", () => {
    const priorityOf = (priority: number) => publishOptions(messageOf("x", { properties: { priority } })).priority;
    expect([300, -1, 4.7, 255].map(priorityOf)).toEqual([255, 0, 4, 255]);
  });

  test("without a content type they are damaged, without an encoding they are not", () => {
    expect(read(received({}, {}, { contentType: undefined })).damage).toMatch(/content type/);
    const { damage, message } = read(received({}));
    expect([damage, message.contentEncoding]).toEqual([null, "utf-8"]);
  });

  test("from Celery's native delayed delivery show the address they were meant for", () => {
    const routingKey = `${"0.".repeat(25)}1.0.1.my.queue`;
    expect(read(received({}, { exchange: "celery_delayed_delivery", routingKey })).address).toEqual({
      exchange: "celery",
      routingKey: "my.queue",
    });
  });

  test("come back from a detour as they left: address, expiration and headers", () => {
    const raw = received({ task: "t" }, { exchange: "ex", routingKey: "rk" }, { expiration: "60000", priority: 3 });
    const copy = copyOf(raw, read(raw), { [detourHeader]: detourOf(read(raw), { redelivered: true }) });
    expect(copy.options.expiration).toBeUndefined();
    expect(copy.options.priority).toBe(3);
    const back = read({
      ...received({
        ...(copy.options.headers as object),
        "x-death": [{ queue: "tq_delayed_3" }],
        "x-first-death-queue": "tq_delayed_3",
      }),
      fields: { deliveryTag: 2, redelivered: false, exchange: "tq_delayed_delivery", routingKey: "q.1" },
    });
    expect(back.address).toEqual({ exchange: "ex", routingKey: "rk" });
    expect(back.message.headers).toEqual({ task: "t" });
    expect(back.message.properties.expiration).toBe("60000");
    expect(back.redelivered).toBe(true);
  });
});

describe("acknowledgements", () => {
  test("settle exactly the tags given, whatever else is outstanding", () => {
    const case_ = fc
      .uniqueArray(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 60 })
      .chain((outstanding) => fc.tuple(fc.constant(outstanding), fc.subarray(outstanding, { minLength: 1 })));
    fc.assert(
      fc.property(case_, ([outstanding, tags]) => {
        const others = outstanding.filter((tag) => !tags.includes(tag));
        const lowest = others.length > 0 ? Math.min(...others) : null;
        const settled = (ack: Ack) => outstanding.filter((tag) => (ack.multiple ? tag <= ack.tag : tag === ack.tag));
        const all = planAcks(tags, lowest)
          .flatMap(settled)
          .sort((a, b) => a - b);
        expect(all).toEqual([...tags].sort((a, b) => a - b));
      }),
    );
  });

  test("of everything up to a tag are one", () => {
    expect(planAcks([3, 1, 2], null)).toEqual([{ tag: 3, multiple: true }]);
    expect(planAcks([3, 1, 2, 6], 5)).toEqual([
      { tag: 3, multiple: true },
      { tag: 6, multiple: false },
    ]);
  });
});

describe("the way through the delay levels", () => {
  test("is the wait in quarters of a second, lowest binary digit first, behind the queue", () => {
    expect(delayRoute("celery", 2_300)).toEqual({ exchange: "tq_delayed_3", routingKey: "celery.0.1.0.1" });
    expect(delayRoute("celery", 250)).toEqual({ exchange: "tq_delayed_0", routingKey: "celery.1" });
  });

  test("of no wait leads straight to the queue, of too long a wait to the longest", () => {
    expect(delayRoute("q", -5)).toEqual({ exchange: "", routingKey: "q" });
    expect(delayRoute("q", longestWaitMs * 10)).toEqual(delayRoute("q", longestWaitMs));
    expect(longestWaitMs).toBeGreaterThan(365 * 24 * 3600 * 1000);
  });

  test("waits neither less than asked nor a quarter of a second more", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 366 * 24 * 3600 * 1000 }), (ms) => {
        const digits = delayRoute("q", ms).routingKey.split(".").slice(1);
        const waits = digits.reduce((sum, digit, level) => sum + Number(digit) * 250 * 2 ** level, 0);
        expect(waits - ms).toBeGreaterThanOrEqual(0);
        expect(waits - ms).toBeLessThan(250);
      }),
    );
  });

  test("holds any queue name as one word that is no pattern", () => {
    for (const name of ["a.b", "*", "#", "größe", "x".repeat(255), "a b"]) {
      const word = delayRoute(name, 250).routingKey.slice(0, -2);
      expect(word).toMatch(/^[^.*#]+$/);
      expect(Buffer.byteLength(delayRoute(name, longestWaitMs).routingKey)).toBeLessThanOrEqual(255);
    }
    expect(delayRoute("a.b", 250).routingKey).not.toBe(delayRoute("a%2Eb", 250).routingKey);
  });
});

describe("content header frames", () => {
  /** A frame with one header of this type and these bytes. */
  const frame = (tag: string, value: Buffer): Buffer => {
    const entry = Buffer.concat([Buffer.from([1]), Buffer.from("L"), Buffer.from(tag), value]);
    const type = Buffer.from("Lx");
    const payload = Buffer.concat([
      Buffer.from([0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0b1010_0000, 0]),
      Buffer.from([type.length]),
      type,
      int32(entry.length),
      entry,
    ]);
    return Buffer.concat([Buffer.from([2, 0, 1]), int32(payload.length), payload, Buffer.from([206])]);
  };
  const int32 = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  const healed = (bytes: Buffer): Buffer => {
    const copy = Buffer.from(bytes);
    healHeaderFrame(copy);
    return copy;
  };

  test("with Python's 64-bit integers get the tag amqplib knows, in lists and maps too", () => {
    const number = Buffer.alloc(8, 0x4c);
    const list = Buffer.concat([Buffer.from("L"), number, Buffer.from("S"), int32(1), Buffer.from("L")]);
    expect(healed(frame("L", number))).toEqual(frame("l", number));
    const mended = Buffer.concat([Buffer.from("l"), list.subarray(1)]);
    expect(healed(frame("A", Buffer.concat([int32(list.length), list])))).toEqual(
      frame("A", Buffer.concat([int32(mended.length), mended])),
    );
  });

  test("without such integers are left alone, and so is half a frame", () => {
    const text = frame("S", Buffer.concat([int32(3), Buffer.from("LLL")]));
    expect(healed(text)).toEqual(text);
    const half = frame("L", Buffer.alloc(8)).subarray(0, 30);
    expect(healed(half)).toEqual(half);
  });
});

interface PublishFrame {
  readonly properties: Readonly<Record<string, unknown>>;
}

function fixturePublish(name: string): PublishFrame {
  const path = new URL(`../fixtures/${name}.json`, import.meta.url);
  const fixture = JSON.parse(readFileSync(path, "utf8")) as {
    readonly decoded: { readonly publishes: readonly PublishFrame[] };
  };
  return fixture.decoded.publishes[0] as PublishFrame;
}
