import { expect, test } from "vitest";
import { chain, group, MessageTooLarge, Tq } from "../../src/index.ts";
import { encodeEnvelope } from "../../src/protocol/envelope.ts";
import type { Message } from "../../src/protocol/message.ts";

const app = new Tq("size", { broker: "memory://size", backend: "cache+memory://size", taskDefaultQueue: "size" });
const add = app.task("size.tasks.add", (x: number, y: number) => x + y);
const xsum = app.task("size.tasks.xsum", (numbers: readonly number[]) => numbers.length);
const keep = app.task("size.tasks.keep", (text: string) => text.length);

/** What stands in the queue, and takes it out. */
async function waiting(): Promise<Message[]> {
  const broker = await app.broker();
  const count = await broker.size("size");
  const messages: Message[] = [];
  const flow = await broker.subscribe({
    node: "test",
    prefetch: 0,
    noAck: true,
    onDelivery: (delivery) => messages.push(delivery.message),
    onLost: () => undefined,
  });
  const [queue] = [...app.topology.consumed.values()];
  await flow.consume(queue as never);
  await expect.poll(() => messages.length).toBe(count);
  await flow.close();
  return messages;
}

const bytesOf = (message: Message): number =>
  encodeEnvelope(message, { exchange: "", routingKey: "size" }, "tag").length;

test("six chords of ten in a row are sent in less than 40 kB, all messages together", async () => {
  const ten = group(Array.from({ length: 10 }, (_, i) => add.s(i)));
  const first = group(Array.from({ length: 10 }, (_, i) => add.s(i, i)));
  await chain(first, xsum.s(), ten, xsum.s(), ten, xsum.s(), ten, xsum.s(), ten, xsum.s(), ten, xsum.s()).delay();
  const sizes = (await waiting()).map(bytesOf);
  expect(sizes).toHaveLength(10);
  expect(sizes.reduce((sum, one) => sum + one, 0)).toBeLessThan(40_000);
});

test("chords in a row grow by what they have, not by powers", async () => {
  const any = () => app.signature<[unknown], unknown>("size.tasks.any");
  const row = (chords: number) =>
    chain(Array.from({ length: 2 * chords }, (_, i) => (i % 2 === 0 ? group(any(), any(), any()) : any())));
  await row(2).delay(1);
  const small = Math.max(...(await waiting()).map(bytesOf));
  await row(24).delay(1);
  const large = Math.max(...(await waiting()).map(bytesOf));
  expect(large).toBeLessThan(small * 12);
});

test("a message that is too large is refused where it is made, with its size and the limit", async () => {
  app.conf.update({ workerMaxBodySize: 100_000 });
  const text = "x".repeat(200_000);
  const refused = await keep.delay(text).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(MessageTooLarge);
  expect(refused).toMatchObject({ limit: 100_000, size: expect.any(Number) });
  expect((refused as MessageTooLarge).size).toBeGreaterThan(200_000);
  expect((refused as Error).message).toMatch(
    /size\.tasks\.keep take 2000\d\d bytes, more than workerMaxBodySize \(100000\)/,
  );
  // What is deflated on its way is as large as what comes out of it.
  await expect(chain(keep.s(text), add.si(1, 1)).delay()).rejects.toThrow(MessageTooLarge);
  await expect(keep.applyAsync([text], { compression: "zlib" })).rejects.toThrow(MessageTooLarge);
  expect(await waiting()).toEqual([]);
  await app.close();
});
