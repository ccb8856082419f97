import { describe, expect, test } from "vitest";
import {
  ContentDisallowed,
  DecodeError,
  EncodeError,
  ImproperlyConfigured,
  MessageTooLarge,
} from "../../src/errors.ts";
import {
  decodeBody,
  type EncodedBody,
  encodeBody,
  loadSerializer,
  normalizeAccept,
  serializerNamed,
} from "../../src/serialization/registry.ts";

const json = normalizeAccept(["json"]);
const all = normalizeAccept(["json", "yaml", "msgpack", "pickle"]);
const message = (
  body: string,
  contentType = "application/json",
  headers: Record<string, unknown> = {},
  contentEncoding = "utf-8",
) => ({
  headers,
  contentType,
  contentEncoding,
  body: Buffer.from(body, "utf8").toString("base64"),
});

test("json without compression is encoded and decoded at once", () => {
  const encoded = encodeBody([[1], {}, null], "json") as EncodedBody;
  expect(encoded).toEqual({
    body: Buffer.from("[[1],{},null]").toString("base64"),
    size: 13,
    contentType: "application/json",
    contentEncoding: "utf-8",
  });
  expect(decodeBody({ ...encoded, headers: {} }, json)).toEqual([[1], {}, null]);
  expect(decodeBody({ ...encoded, headers: { compression: null } }, json)).toEqual([[1], {}, null]);
});

test("a content type that is not accepted is refused before anything is decoded", () => {
  const broken = {
    ...message("\x80garbage", "application/x-python-serialize"),
    headers: { compression: "application/x-nope" },
  };
  expect(() => decodeBody(broken, json)).toThrow(ContentDisallowed);
  expect(() => decodeBody(broken, json)).toThrow(/pickle.*not accepted.*application\/json/);
  expect(() => decodeBody(message("[]", ""), json)).toThrow(ContentDisallowed);
});

test("raw data is always taken, as bytes or as text", () => {
  expect(decodeBody(message("abc", "application/data", {}, "binary"), json)).toEqual(Buffer.from("abc"));
  expect(decodeBody(message("abc", "application/data"), json)).toBe("abc");
  expect(decodeBody(message("abc", "text/plain"), new Set(["text/plain"]))).toBe("abc");
});

test("text is read in the encoding the message names", () => {
  const body = Buffer.from('"\xe9"', "latin1").toString("base64");
  expect(decodeBody({ headers: {}, contentType: "application/json", contentEncoding: "latin-1", body }, json)).toBe(
    "é",
  );
  expect(() =>
    decodeBody({ headers: {}, contentType: "application/json", contentEncoding: "utf-8", body }, json),
  ).toThrow(DecodeError);
  expect(() =>
    decodeBody({ headers: {}, contentType: "application/json", contentEncoding: "no-such", body }, json),
  ).toThrow(DecodeError);
});

test("a body larger than the limit is refused", () => {
  expect(() => decodeBody(message(`"${"x".repeat(1000)}"`), json, { maxBytes: 500 })).toThrow(MessageTooLarge);
  expect(decodeBody(message(`"${"x".repeat(498)}"`), json, { maxBytes: 500 })).toHaveLength(498);
});

test("serializers other than json and raw are there after they were loaded", async () => {
  expect(serializerNamed("json").contentType).toBe("application/json");
  expect(serializerNamed("application/json").name).toBe("json");
  expect(serializerNamed("raw").encode("é")).toEqual(Buffer.from("é"));
  expect(() => serializerNamed("raw").encode({})).toThrow(EncodeError);
  expect(() => serializerNamed("yaml")).toThrow(/loadSerializer\("yaml"\)/);
  expect((await loadSerializer("yaml")).contentType).toBe("application/x-yaml");
  expect(serializerNamed("yaml").name).toBe("yaml");
  for (const name of ["nope", "constructor", "__proto__"]) {
    expect(() => serializerNamed(name)).toThrow(ImproperlyConfigured);
    await expect(loadSerializer(name)).rejects.toThrow(ImproperlyConfigured);
    expect(() => normalizeAccept([name])).toThrow(ImproperlyConfigured);
  }
});

test("acceptContent takes names and content types", () => {
  expect([...normalizeAccept(["json", "pickle", "application/x-mine", "auth"])]).toEqual([
    "application/json",
    "application/x-python-serialize",
    "application/x-mine",
    "application/data",
  ]);
});

describe("compression", () => {
  const value = { text: "lorem ipsum ".repeat(1000) };

  test.each([
    ["zlib", "application/x-gzip", "789c"],
    ["gzip", "application/x-gzip", "789c"],
    ["brotli", "application/x-brotli", ""],
    ["zstd", "application/zstd", "28b52ffd"],
    ["bzip2", "application/x-bz2", "425a68"],
  ])("%s round trip", async (name, header, magic) => {
    const encoded = await encodeBody(value, "json", name);
    expect(encoded.compression).toBe(header);
    expect(Buffer.from(encoded.body, "base64").toString("hex").startsWith(magic)).toBe(true);
    for (const compression of [name, header])
      expect(await decodeBody({ ...encoded, headers: { compression } }, json)).toEqual(value);
    expect((await encodeBody(value, "pickle", name)).contentType).toBe("application/x-python-serialize");
  });

  test.each(["zlib", "brotli", "zstd", "bzip2"])("a %s bomb is refused", async (name) => {
    const bomb = await encodeBody("\0".repeat(5_000_000), "raw", name);
    expect(bomb.body.length).toBeLessThan(200_000);
    const unpack = async (): Promise<unknown> =>
      await decodeBody({ ...bomb, headers: { compression: name } }, json, { maxBytes: 1_000_000 });
    await expect(unpack()).rejects.toThrow(/more than 1000000 bytes/);
    const all = await decodeBody({ ...bomb, headers: { compression: name } }, json, { maxBytes: 5_000_000 });
    expect(all).toHaveLength(5_000_000);
  });

  test.each(["zlib", "brotli", "zstd", "bzip2"])("damaged %s is refused", async (name) => {
    const encoded = await encodeBody(value, "json", name);
    const bytes = Buffer.from(encoded.body, "base64");
    for (const damaged of [bytes.subarray(0, -4), Buffer.from("no such thing"), Buffer.alloc(0)]) {
      const unpack = async (): Promise<unknown> =>
        await decodeBody({ ...encoded, body: damaged.toString("base64"), headers: { compression: name } }, json);
      await expect(unpack()).rejects.toThrow(DecodeError);
    }
  });

  test("a large body passes bzip2, whose memory grows meanwhile", async () => {
    const text = Array.from({ length: 1_000_000 }, (_, index) => String.fromCharCode(32 + ((index * 7919) % 90))).join(
      "",
    );
    const encoded = await encodeBody(text, "json", "bzip2");
    expect(await decodeBody({ ...encoded, headers: { compression: "bzip2" } }, json)).toBe(text);
  });

  test("what has no name is refused", async () => {
    for (const compression of ["application/x-nope", 5, {}, "constructor"]) {
      expect(() => decodeBody({ ...message("[]"), headers: { compression } }, json)).toThrow(DecodeError);
    }
    expect(() => encodeBody([], "json", "nope")).toThrow(/zlib, gzip, brotli/);
  });

  test("lzma says which package it needs, or works", async () => {
    const attempt = Promise.resolve().then(() => encodeBody(value, "json", "lzma"));
    const outcome = await attempt.catch((error: unknown) => error);
    if (outcome instanceof Error) expect(outcome.message).toContain("npm install lzma-native");
    else expect(await decodeBody({ ...(outcome as EncodedBody), headers: { compression: "xz" } }, json)).toEqual(value);
  });

  test("loading compressors leaves nothing behind in the global scope", async () => {
    await encodeBody([], "json", "bzip2");
    expect(Object.keys(globalThis)).not.toContain("__dirname");
    expect((globalThis as { __dirname?: unknown }).__dirname).toBeUndefined();
  });
});

test("every serializer brings a task body back", async () => {
  const body = [
    [1, "é", null, Buffer.from([255])],
    { k: [1.5, true] },
    { callbacks: null, errbacks: null, chain: [], chord: null },
  ];
  for (const serializer of ["json", "yaml", "msgpack", "pickle"]) {
    const encoded = await encodeBody(body, serializer);
    const read = (await decodeBody({ ...encoded, headers: {} }, all)) as [
      [unknown, unknown, unknown, Uint8Array],
      unknown,
      unknown,
    ];
    expect([...read[0].slice(0, 3), [...read[0][3]], read[1], read[2]], serializer).toEqual([
      1,
      "é",
      null,
      [255],
      body[1],
      body[2],
    ]);
  }
});
