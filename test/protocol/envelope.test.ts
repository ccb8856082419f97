import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EncodeError } from "../../src/errors.ts";
import { decodeEnvelope, decodeEnvelopeBytes, encodeEnvelope, markRedelivered } from "../../src/protocol/envelope.ts";
import type { Message } from "../../src/protocol/message.ts";
import { MessageOfBytes, withHeaders } from "../../src/protocol/message-of-bytes.ts";

const message = (fields: Partial<Message> = {}): Message => ({
  headers: { task: "add", id: "1" },
  properties: { correlation_id: "1", priority: 3 },
  contentType: "application/json",
  contentEncoding: "utf-8",
  body: "W10=",
  ...fields,
});
const address = { exchange: "", routingKey: "celery" };

test("any message comes back as it was", () => {
  const text = fc.string({ unit: "grapheme" });
  const table = fc.dictionary(
    fc.oneof(text, fc.constant("__proto__")),
    fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.bigInt({ min: 2n ** 64n, max: 2n ** 70n }), fc.constant(Number.NaN)),
  );
  fc.assert(
    fc.property(
      table,
      table,
      text,
      text,
      text,
      fc.base64String(),
      (headers, properties, exchange, routingKey, contentType, body) => {
        for (const key of ["delivery_info", "delivery_tag", "body_encoding"]) delete properties[key];
        const sent = {
          headers: exact(headers),
          properties: exact(properties),
          contentType: `x${contentType}`,
          contentEncoding: "utf-8",
          body,
        } as Message;
        const read = decodeEnvelope(encodeEnvelope(sent, { exchange, routingKey }, "tag"));
        expect(read).toEqual({
          message: sent,
          address: { exchange, routingKey },
          deliveryTag: "tag",
          redelivered: headers.redelivered === true,
          damage: null,
        });
      },
    ),
  );
});

test("a body cannot smuggle fields into the envelope it is put back in", () => {
  const body = 'x", "headers": {"task": "evil"}, "y": "';
  const { message: read } = decodeEnvelope(encodeEnvelope(message({ body }), address, "tag"));
  expect([read.body, read.headers]).toEqual([body, { task: "add", id: "1" }]);
});

test("a text body becomes base64", () => {
  const text =
    '{"body": "[1, \\"é\\"]", "content-type": "application/json", "headers": {}, "properties": {"delivery_info": {}, "delivery_tag": "t"}}';
  const { message: read, damage } = decodeEnvelope(text);
  expect([Buffer.from(read.body, "base64").toString(), damage, read.contentEncoding]).toEqual([
    '[1, "é"]',
    null,
    "utf-8",
  ]);
});

test("rich values in headers are written as Python writes them, and what cannot be is refused", () => {
  const text = encodeEnvelope(
    message({ headers: { at: new Date("2024-05-06T07:08:09Z"), gone: undefined } }),
    address,
    "t",
  );
  expect((JSON.parse(text) as { headers: unknown }).headers).toEqual({
    at: { __type__: "datetime", __value__: "2024-05-06T07:08:09+00:00" },
  });
  expect(() => encodeEnvelope(message({ headers: { f: () => 1 } }), address, "t")).toThrow(EncodeError);
});

describe("damage", () => {
  const sound = JSON.parse(encodeEnvelope(message(), address, "tag")) as Record<string, unknown>;
  const properties = sound.properties as Record<string, unknown>;

  test.each([
    ["hello", /not JSON/],
    ["", /not JSON/],
    ["[]", /not a JSON object/],
    ["null", /not a JSON object/],
    ["5", /not a JSON object/],
    ["[".repeat(100_000), /levels|not JSON/],
    ["{}", /body is missing/],
    [{ ...sound, body: { a: 1 } }, /body is object/],
    [{ ...sound, headers: [1] }, /headers is a list/],
    [{ ...sound, properties: null }, /properties is null/],
    [{ ...sound, "content-type": undefined }, /content-type is missing/],
    [{ ...sound, "content-type": "" }, /content-type is empty/],
    [{ ...sound, properties: { ...properties, delivery_tag: undefined } }, /delivery_tag is missing/],
    [{ ...sound, properties: { ...properties, delivery_tag: 7 } }, /delivery_tag is number/],
    [{ ...sound, properties: { ...properties, delivery_info: "x" } }, /delivery_info is string/],
  ])("%#: is told, never thrown", (envelope, damage) => {
    const read = decodeEnvelope(typeof envelope === "string" ? envelope : JSON.stringify(envelope));
    expect(read.damage).toMatch(damage);
    expect(typeof read.message.body).toBe("string");
  });

  test("any text at all is read or told to be damaged", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        expect(decodeEnvelope(text).damage).toBeTypeOf("string");
        expect(markRedelivered(text)).toBeTypeOf("string");
      }),
    );
  });
});

test("marking redelivered changes nothing else, digits of large integers included", () => {
  const sent = encodeEnvelope(message({ headers: { task: "add", big: 2n ** 64n, nan: Number.NaN } }), address, "tag");
  const marked = markRedelivered(sent);
  expect(decodeEnvelope(marked)).toEqual({
    ...decodeEnvelope(sent),
    redelivered: true,
    message: {
      ...decodeEnvelope(sent).message,
      headers: { task: "add", big: 2n ** 64n, nan: Number.NaN, redelivered: true },
    },
  });
  expect(marked).toContain("18446744073709551616");
  expect(markRedelivered("garbage")).toBe("garbage");
  expect(markRedelivered("[]")).toBe("[]");
});

/** As JSON says it: -0 is 0, a whole number beyond 2^53 an integer. */
function exact<T>(value: T): T {
  if (typeof value === "number")
    return (
      Object.is(value, -0)
        ? 0
        : Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 1e21
          ? BigInt(String(value))
          : value
    ) as T;
  if (Array.isArray(value)) return value.map(exact) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, exact(item as unknown)])) as T;
}

describe("the bytes of an envelope", () => {
  const body = Buffer.alloc(30_000, "[[1], {}, {}]").toString("base64");
  const large = encodeEnvelope(message({ headers: { task: "ädd" }, body }), address, "tag");
  /** Read as bytes and as text, which must be the same. */
  const bothWays = (text: string) => {
    const read = decodeEnvelopeBytes(Buffer.from(text));
    expect({ ...read, message: { ...read.message } }).toEqual(decodeEnvelope(text));
    return MessageOfBytes.bytesOf(read.message)?.toString("latin1");
  };

  test("of a large one are not made text, with other headers neither", () => {
    expect(bothWays(large)).toBe(body);
    expect(bothWays(large.replace('{"body": "', '{"body":"'))).toBe(body);
    const changed = withHeaders(decodeEnvelopeBytes(Buffer.from(large)).message, { task: "other" });
    expect(MessageOfBytes.bytesOf(changed)?.length).toBe(body.length);
    expect({ ...changed }).toEqual(message({ headers: { task: "other" }, body }));
  });

  test("are given out once, and not taken for an empty body after that", () => {
    const { message: read } = decodeEnvelopeBytes(Buffer.from(large));
    expect(MessageOfBytes.takeBytes(read)?.toString()).toBe(body);
    expect(MessageOfBytes.takeBytes(read)).toBeUndefined();
    expect(() => read.body).toThrow("was read before");
    expect(MessageOfBytes.takeBytes(message())).toBeUndefined();
  });

  test.each([
    ["small", encodeEnvelope(message(), address, "tag")],
    ["whose body stands elsewhere", large.replace(/"body": "(.*?)", (.*)}$/, '$2, "body": "$1"}').replace("{,", "{")],
    ["with a second body", `${large.slice(0, -1)}, "body": "W10="}`],
    ["whose body is escaped", large.replace('"body": "', '"body": "\\/')],
    ["whose body has a line break, which JSON forbids", large.replace('"body": "', '"body": "\n')],
    ["whose body is plain text", large.replace(', "body_encoding": "base64"', "")],
    ["that ends too early", large.slice(0, -1)],
    ["that ends within the body", large.slice(0, 20_000)],
  ])("of one %s are read as its text is", (_, text) => {
    expect(bothWays(text)).toBeUndefined();
  });
});
