import { expect, test } from "vitest";
import {
  ContentDisallowed,
  DecodeError,
  EncodeError,
  ImproperlyConfigured,
  registerCompression,
  registerSerializer,
  registerType,
} from "../../src/index.ts";
import { decodeJson, encodeJson } from "../../src/serialization/json.ts";
import { decodeBody, encodeBody, normalizeAccept } from "../../src/serialization/registry.ts";
import { stage, work } from "../helpers/stage.ts";

const turn = (bytes: Uint8Array): Uint8Array => Uint8Array.from(bytes, (byte) => byte ^ 0xff);

registerSerializer({
  name: "turned",
  contentType: "application/x-turned",
  encode: (value) => turn(Buffer.from(JSON.stringify(value))),
  decode: (bytes) => JSON.parse(Buffer.from(turn(bytes)).toString("utf8")) as unknown,
});
registerCompression({
  contentType: "application/x-backwards",
  aliases: ["backwards"],
  compress: (bytes) => Uint8Array.from(bytes).reverse(),
  decompress: (bytes) => Uint8Array.from(bytes).reverse(),
});

class Money {
  readonly amount: number;
  readonly currency: string;
  constructor(amount: number, currency: string) {
    this.amount = amount;
    this.currency = currency;
  }
}
registerType(
  Money,
  "money",
  ({ amount, currency }) => [amount, currency],
  (value) => new Money(...(value as [number, string])),
);

test("a call, its result, and a compression may use what was registered", async () => {
  const app = stage({ acceptContent: ["json", "turned"], resultSerializer: "turned" });
  const add = app.task("app.add", { serializer: "turned", compression: "backwards" }, (x: number, y: number) => x + y);
  const types: unknown[] = [];
  app.signals.connect("beforeTaskPublish", ({ headers }) => void types.push(headers.compression));
  work(app);
  expect(await (await add.delay(1, 2)).get({ timeout: 5 })).toBe(3);
  expect(types).toEqual(["application/x-backwards"]);
});

test("what a registered serializer wrote is read only where acceptContent lists it", async () => {
  const message = { ...(await encodeBody([1], "turned")), headers: {} };
  expect(message.contentType).toBe("application/x-turned");
  expect(() => decodeBody(message, normalizeAccept(["json"]))).toThrow(ContentDisallowed);
  expect(decodeBody(message, normalizeAccept(["turned"]))).toEqual([1]);
  const broken = { ...message, body: Buffer.from("{").toString("base64") };
  expect(() => decodeBody(broken, normalizeAccept(["turned"]))).toThrow(DecodeError);
  expect(() => encodeBody(1n, "turned")).toThrow(EncodeError);
});

test("values of a registered class travel in JSON by their marker, and come back as themselves", async () => {
  expect(JSON.parse(encodeJson({ price: new Money(5, "EUR") }))).toEqual({
    price: { __type__: "money", __value__: [5, "EUR"] },
  });
  expect(decodeJson(encodeJson([new Money(5, "EUR")]))).toEqual([new Money(5, "EUR")]);
  const app = stage();
  const double = app.task("app.double", (price: Money) => new Money(price.amount * 2, price.currency));
  work(app);
  const result = await (await double.delay(new Money(2, "EUR"))).get({ timeout: 5 });
  expect(result).toBeInstanceOf(Money);
  expect(result).toEqual(new Money(4, "EUR"));
});

test("what is built in cannot be replaced", () => {
  const serializer = { contentType: "application/x-other", encode: () => new Uint8Array(), decode: () => null };
  for (const name of ["json", "raw", "yaml", "pickle", "auth"])
    expect(() => registerSerializer({ ...serializer, name })).toThrow(ImproperlyConfigured);
  expect(() => registerSerializer({ ...serializer, name: "other", contentType: "application/json" })).toThrow(
    "the content type application/json is that of the serializer json",
  );
  const codec = { compress: (bytes: Uint8Array) => bytes, decompress: (bytes: Uint8Array) => bytes };
  expect(() => registerCompression({ ...codec, contentType: "application/x-new", aliases: ["gzip"] })).toThrow(
    "there is a compression gzip already",
  );
  expect(() => registerType(Money, "decimal", () => 1, String)).toThrow("is built in");
});
