import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import { Redis } from "ioredis";
import { expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import type { DeadLetter } from "../../src/broker/broker.ts";
import { defaultBrokerOptions } from "../../src/broker/options.ts";
import { createSqliteBroker } from "../../src/broker/sqlite/broker.ts";
import { brokerKinds } from "../helpers/brokers.ts";
import { root } from "../helpers/build.ts";
import { childrenOf } from "../helpers/child.ts";
import { nestedTable, rawAmqp } from "../helpers/raw-amqp.ts";
import { describeWith } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";

const inputs = join(root, "test", "apps", "inputs.ts");
const mebibyte = 2 ** 20;

/** A message by its parts, which need make no sense. Left out: those of a sound call of acts.add. */
interface Parts {
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly properties?: Readonly<Record<string, unknown>>;
  readonly contentType?: string;
  readonly contentEncoding?: string;
  /** Bytes, text, or anything else as JSON. */
  readonly body?: unknown;
}

interface Whole extends Required<Parts> {
  readonly body: Buffer;
}

/** Puts things into a queue past everything that checks them. */
interface Sender extends AsyncDisposable {
  /** Of the broker. */
  readonly url: string;
  send(message: Whole): Promise<void>;
  /** An element of the queue as it is; only Redis has such. */
  raw?(element: string | Buffer): Promise<void>;
}

async function sender(url: string, queue: string): Promise<Sender> {
  if (url.startsWith("redis")) return redisSender(url, queue);
  return url.startsWith("amqp") ? await amqpSender(url, queue) : await sqliteSender(url, queue);
}

function redisSender(url: string, queue: string): Sender {
  const redis = new Redis(url);
  const raw = async (element: string | Buffer): Promise<void> => void (await redis.lpush(queue, element));
  return {
    url,
    raw,
    send: (message) => raw(Buffer.concat(envelope(message, queue).map((part) => Buffer.from(part)))),
    async [Symbol.asyncDispose]() {
      redis.disconnect();
    },
  };
}

/** kombu's envelope, in pieces: a large body is not copied once more. */
function envelope({ headers, properties, contentType, contentEncoding, body }: Whole, queue: string): string[] {
  const transport = {
    body_encoding: "base64",
    delivery_tag: randomUUID(),
    delivery_info: { exchange: "", routing_key: queue },
  };
  const rest = {
    "content-encoding": contentEncoding,
    "content-type": contentType,
    headers,
    properties: { ...properties, ...transport },
  };
  return ['{"body": "', body.toString("base64"), '", ', json(rest).slice(1)];
}

async function amqpSender(url: string, queue: string): Promise<Sender> {
  const amqp = await rawAmqp(url);
  return {
    url,
    send: (message) => amqp.publish(queue, message),
    [Symbol.asyncDispose]: () => amqp[Symbol.asyncDispose](),
  };
}

async function sqliteSender(url: string, queue: string): Promise<Sender> {
  const broker = createSqliteBroker(url, defaultBrokerOptions);
  await broker.connect();
  return {
    url,
    send: ({ body, ...message }) =>
      broker.publish({ ...message, body: body.toString("base64") }, { exchange: "", routingKey: queue }),
    [Symbol.asyncDispose]: () => broker.close(),
  };
}

/** JSON with integers of any size. */
const json = (value: unknown): string =>
  JSON.stringify(value, (_key, inner: unknown) => (typeof inner === "bigint" ? `#${inner}#` : inner)).replace(
    /"#(\d+)#"/g,
    "$1",
  );

function whole(parts: Parts, id: string): Whole {
  const { body = [[2, 3], {}, {}] } = parts;
  return {
    headers: { task: "acts.add", id, ...parts.headers },
    properties: parts.properties ?? {},
    contentType: parts.contentType ?? "application/json",
    contentEncoding: parts.contentEncoding ?? "utf-8",
    body: Buffer.isBuffer(body) ? body : Buffer.from(typeof body === "string" ? body : json(body)),
  };
}

/** A worker on a broker of its own, and what it takes to look at both. */
async function stage(kind: (typeof brokerKinds)[number], args: readonly string[] = [], env = {}) {
  const under = await kind.make();
  const { TQ_BROKER_URL: url, TQ_RESULT_BACKEND: backend } = under.env;
  const worker = startWorker({
    app: inputs,
    // Whatever is wrong with a message, it is to be seen in one place.
    args: ["-c", "2", "-n", "w@here", "--", "worker.unknown_tasks=deadletter", ...args],
    env: { ...under.env, ACTS_QUEUE: under.queue, ...env },
  });
  const app = new Tq("client", { broker: url, backend, taskDefaultQueue: under.queue });
  const open: AsyncDisposable[] = [under, worker, app];
  const dispose = async (): Promise<void> => {
    for (const part of open.reverse()) await part[Symbol.asyncDispose]();
  };
  try {
    await worker.ready();
    const [to, broker] = [await sender(url, under.queue), await app.broker()];
    open.push(to);
    await broker.connect();
    return { worker, app, to, broker, queue: under.queue, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}
type Stage = Awaited<ReturnType<typeof stage>>;

/** Resident memory in MiB. */
const memoryOf = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;

/**
 * Dead letters, once there are as many; those there are when that takes too long. Connects anew
 * when need be: a large message may keep a server too busy to answer in time.
 */
async function dead({ broker, worker }: Stage, count: number, timeout = 20): Promise<readonly DeadLetter[]> {
  const enough = until(
    async () => {
      await broker.connect();
      return !worker.running || (await broker.deadLetters.count()) >= count;
    },
    { timeout, interval: 0.2 },
  );
  await enough.catch(() => undefined);
  return await broker.deadLetters.list({ limit: count + 10 });
}

/** The same worker with the same children goes on, and nothing is left in its hands or in the queue. */
async function expectUnharmed({ worker, app, broker, queue }: Stage, before: readonly number[]): Promise<void> {
  const sum = await app.sendTask<number>("acts.add", [20, 22]);
  expect(await sum.get({ timeout: 10 })).toBe(42);
  expect(worker.running).toBe(true);
  expect(childrenOf(worker.pid)).toEqual(before);
  expect(await (await app.sendTask("acts.pollution")).get({ timeout: 10 })).toEqual([]);
  expect((await worker.term()).code).toBe(0);
  expect(await broker.size(queue)).toBe(0);
}

/** The state of a task that has ended. */
async function stateOf(app: Tq, id: string): Promise<string | null> {
  const result = app.asyncResult(id);
  return (await result.ready()) ? await result.state() : null;
}

/** A message that cannot be run. */
interface Bad extends Parts {
  /** Of the dead letter, the result and the log line. */
  readonly reason: RegExp;
  /** Where the message can be sent at all. */
  readonly only?: RegExp;
  /** No result can tell of it: it does not say whose it would be. */
  readonly nameless?: true;
}

/** Base64 of pickle's protocol 2 for `os.system("touch …")`: harmless as long as nobody unpickles it. */
const pickled = Buffer.from("gAJjcG9zaXgKc3lzdGVtClgKAAAAdG91Y2ggL3RtcIVSLg==", "base64");
const bomb = deflateSync(Buffer.alloc(200 * mebibyte, 0x20));
const nested = (levels: number): string => "[".repeat(levels) + "]".repeat(levels);

const bad: Readonly<Record<string, Bad>> = {
  "a body that is not JSON": { body: "{not json", reason: /not JSON/ },
  "a truncated body": { body: '[[2, 3], {}, {"callb', reason: /not JSON/ },
  "an empty body": { body: "", reason: /not JSON/ },
  "bytes that are no text": { body: Buffer.from([0xff, 0xfe, 0, 0x80, 0xc3]), reason: /the body is not utf-8/ },
  "an unknown encoding": { contentEncoding: "klingon-8", reason: /not text in "klingon-8"/ },
  pickle: {
    body: pickled,
    contentType: "application/x-python-serialize",
    contentEncoding: "binary",
    reason: /pickle.*is not accepted/,
  },
  "no pickle, as pickle": {
    body: "no",
    contentType: "application/x-python-serialize",
    contentEncoding: "binary",
    reason: /pickle.*is not accepted/,
  },
  "an unaccepted type, badly compressed": {
    headers: { compression: "application/x-gzip" },
    contentType: "application/x-yaml",
    reason: /yaml.*is not accepted/,
  },
  "an unknown content type": { contentType: "application/x-nope", reason: /x-nope.*is not accepted/ },
  "an unknown compression": {
    headers: { compression: "application/x-nope" },
    reason: /unknown compression "application\/x-nope"/,
  },
  "a compression that is a number": { headers: { compression: 7 }, reason: /unknown compression/ },
  "what is not compressed, as compressed": {
    headers: { compression: "application/x-gzip" },
    reason: /the body is not zlib/,
  },
  "a compression bomb": {
    headers: { compression: "application/x-gzip" },
    body: bomb,
    reason: /unfolds into more than \d+ bytes/,
  },
  "an unknown task": { headers: { task: "acts.nope" }, reason: /NotRegistered|unregistered|acts\.nope/ },
  "a task named by a number": { headers: { task: 5 }, reason: /header `task` must be text/ },
  "a task named by nothing": { headers: { task: "" }, reason: /header `task` must be text/ },
  "a missing argument": { body: [[2], {}, {}], reason: /missing 1 required positional argument: 'y'/ },
  "too many arguments": { body: [[2, 3, 4], {}, {}], reason: /takes 2 positional arguments but 3 were given/ },
  "an unknown keyword": { body: [[2, 3], { z: 1 }, {}], reason: /unexpected keyword argument 'z'/ },
  "an argument twice": { body: [[2, 3], { x: 1 }, {}], reason: /multiple values for argument 'x'/ },
  "args that are no list": { body: ["23", {}, {}], reason: /args that are a string, not a list/ },
  "args that are null": { body: [null, {}, {}], reason: /args that are null, not a list/ },
  "kwargs that are a list": { body: [[2, 3], [], {}], reason: /kwargs that are a list of 0, not an object/ },
  "an embed that is a number": { body: [[2, 3], {}, 5], reason: /embed that is a number/ },
  "a callback that is no signature": {
    body: [[2, 3], {}, { callbacks: [7] }],
    reason: /broken signature at callbacks\[0\]/,
  },
  "a body that is a number": { body: 17, reason: /not \[args, kwargs, embed\]/ },
  "a body of one": { body: [[2, 3]], reason: /not \[args, kwargs, embed\]/ },
  "an eta that is a number": { headers: { eta: 1_700_000_000 }, reason: /header `eta` must be an ISO 8601 date/ },
  "an eta that is garbage": { headers: { eta: "tomorrow" }, reason: /eta must be an ISO 8601 time.*tomorrow/ },
  "an expires that is a list": {
    headers: { expires: ["2099-01-01"] },
    reason: /header `expires` must be an ISO 8601 date/,
  },
  "an expires that is garbage": {
    headers: { expires: "2099-02-31T00:00:00" },
    reason: /expires must be an ISO 8601 time/,
  },
  "retries that are text": { headers: { retries: "three" }, reason: /header `retries` must be a whole number/ },
  "retries below zero": { headers: { retries: -1 }, reason: /header `retries` must be a whole number/ },
  "a timelimit that is a number": { headers: { timelimit: 10 }, reason: /header `timelimit` must be/ },
  "a timelimit below zero": { headers: { timelimit: [-1, null] }, reason: /header `timelimit` must be/ },
  "a group_index that is text": { headers: { group_index: "1" }, reason: /header `group_index` must be/ },
  "stamps that are a list": { headers: { stamps: [] }, reason: /header `stamps` must be/ },
  "an id that is a number": { headers: { id: 17 }, reason: /header `id` must be text/, nameless: true },
  "an id that is empty": { headers: { id: "" }, reason: /header `id` must be text/, nameless: true },
  "an id that is a list": { headers: { id: ["a"] }, reason: /header `id` must be text/, nameless: true },
  "no id": { headers: { id: undefined }, reason: /no header `id`/, nameless: true },
  "no task": { headers: { task: undefined }, reason: /unknown message/ },
  "no headers, and a body that is no task": {
    headers: { task: undefined, id: undefined },
    body: { foo: 1 },
    reason: /unknown message/,
    nameless: true,
  },
  "a body nested 100,000 deep": { body: `[[${nested(100_000)}], {}, {}]`, reason: /nested more than 1000 levels/ },
  "a protocol 1 body nested 100,000 deep": {
    headers: { task: undefined, id: undefined },
    body: `{"task": "acts.add", "id": "x", "args": [${nested(100_000)}]}`,
    reason: /nested more than 1000 levels/,
    nameless: true,
  },
  "a bomb of protocol 1": {
    headers: { task: undefined, compression: "application/x-gzip" },
    body: bomb,
    reason: /unfolds into more than \d+ bytes/,
  },
  "a broken date": { body: [[{ __type__: "datetime", __value__: "noon" }, 3], {}, {}], reason: /marked as datetime/ },
  "a bad call with 90 KB of headers": { headers: { large: "x".repeat(90_000) }, body: "no", reason: /not JSON/ },
  "a bad call with nearly all headers a frame can have": {
    headers: { large: "x".repeat(130_700) },
    body: "no",
    reason: /not JSON/,
    only: /RabbitMQ/,
  },
  "an unknown task with 1 MB of headers": {
    headers: { task: "acts.nope", large: "x".repeat(mebibyte) },
    reason: /acts\.nope/,
    only: /Redis|store/,
  },
  "a bad call with huge integers in its headers": {
    headers: { huge: 12345678901234567890n },
    body: "no",
    reason: /not JSON/,
    only: /Redis|store/,
  },
  "headers nested 900 deep": {
    headers: { deep: JSON.parse(nested(900)) },
    body: "no",
    reason: /not JSON/,
    only: /Redis|store/,
  },
  "headers nested 18,000 deep": { headers: { deep: nestedTable(18_000) }, body: "no", reason: /./, only: /RabbitMQ/ },
};

/** A message that is odd and can be run all the same. */
interface Odd extends Parts {
  readonly result: unknown;
  readonly only?: RegExp;
}

const odd: Readonly<Record<string, Odd>> = {
  "a body of two": { body: [[2, 3], {}], result: 5 },
  "kwargs null": { body: [[2, 3], null, {}], result: 5 },
  "an embed that is null": { body: [[2, 3], {}, null], result: 5 },
  "headers null": { headers: { retries: null, timelimit: null, eta: null, argsrepr: null, stamps: null }, result: 5 },
  "the body of protocol 1 under headers of protocol 2": {
    body: { task: "x", id: "x", args: [5, 6], kwargs: null },
    result: 11,
  },
  "an eta in the past": { headers: { eta: "2024-01-01T00:00:00.123Z" }, result: 5 },
  "a time limit of a year": { headers: { timelimit: [31_536_000, 31_536_000] }, result: 5 },
  "headers of 90 KB": {
    headers: { task: "acts.measure", large: "x".repeat(90_000) },
    body: [["four"], {}],
    result: { text: 4, headers: expect.any(Number) },
  },
  "headers of 1 MB": {
    headers: { task: "acts.measure", large: "x".repeat(mebibyte) },
    body: [["four"], {}],
    result: { text: 4, headers: expect.any(Number) },
    only: /Redis|store/,
  },
  "an integer in its headers beyond 2^53": { headers: { huge: 4611686018427387905n }, result: 5 },
  "an integer in its headers beyond 2^63": { headers: { huge: 12345678901234567890n }, result: 5, only: /Redis|store/ },
  "headers of 90 KB and an eta": {
    headers: { large: "x".repeat(90_000), eta: new Date(Date.now() + 3_000).toISOString() },
    result: 5,
  },
  "a callback that says no more than its task": {
    body: [[2, 3], {}, { callbacks: [{ task: "wt.echo" }] }],
    result: 5,
  },
  "one callback, not in a list": { body: [[2, 3], {}, { callbacks: { task: "wt.echo", args: null } }], result: 5 },
  "a body with line breaks": { body: "[[2,\n3],\n{},\n{}]\n", result: 5 },
};

for (const kind of brokerKinds) {
  describeWith(kind.needs, `bad input on ${kind.name}`, () => {
    test("never stops the worker: it is logged, recorded, kept, and left behind", async () => {
      const limits = ["worker_max_body_size=104857600"];
      await using on = await stage(kind, limits);
      const { worker, app, to, broker, queue } = on;
      const children = childrenOf(worker.pid);
      expect(children).toHaveLength(2);
      const sent = Object.entries(bad)
        .filter(([, { only }]) => only === undefined || only.test(kind.name))
        .map(([name, parts]) => ({ name, parts, id: randomUUID() }));
      for (const { parts, id } of sent) await to.send(whole({ ...parts, headers: { mark: id, ...parts.headers } }, id));
      const letters = await dead(on, sent.length, 60);

      const problems: string[] = [];
      for (const { name, parts, id } of sent) {
        const miss = (what: string): void => void problems.push(`${name}: ${what}`);
        const letter = letters.find(({ message }) => message?.headers.mark === id);
        if (letter === undefined)
          miss(`is no dead letter; ${worker.lines.filter((line) => line.includes(id)).join("\n")}`);
        else {
          if (!parts.reason.test(letter.reason)) miss(`its reason is ${letter.reason.slice(0, 200)}`);
          if (letter.queue !== queue || letter.node !== "w@here") miss(`it is from ${letter.queue} ${letter.node}`);
        }
        const shown = parts.nameless ? "unknown" : id;
        const line = worker.lines.find(
          (each) => each.includes(shown) && each.includes(queue) && parts.reason.test(each),
        );
        if (line === undefined)
          miss(`no line of the log says why: ${worker.lines.filter((each) => each.includes(shown)).join("\n")}`);
        else if (line.length > 3_000) miss(`its line in the log has ${line.length} characters`);
        if (parts.nameless) continue;
        const meta = await app.asyncResult(id).meta();
        if (meta?.status !== "FAILURE") miss(`its result is ${meta?.status}`);
        else if (!parts.reason.test(JSON.stringify(meta.result).replaceAll('\\"', '"')))
          miss(`its result says ${JSON.stringify(meta.result).slice(0, 300)}`);
      }
      expect(problems.join("\n"), worker.lines.slice(-30).join("\n").slice(0, 5_000)).toBe("");
      expect(letters).toHaveLength(sent.length);
      expect(await broker.deadLetters.count()).toBe(sent.length);
      expect(memoryOf(worker.pid)).toBeLessThan(400);
      await expectUnharmed(on, children);
    }, 120_000);

    test("that is merely odd runs", async () => {
      await using on = await stage(kind);
      const { worker, app, to, broker } = on;
      const children = childrenOf(worker.pid);
      const sent = Object.entries(odd)
        .filter(([, { only }]) => only === undefined || only.test(kind.name))
        .map(([name, parts]) => ({ name, parts, id: randomUUID() }));
      for (const { parts, id } of sent) await to.send(whole(parts, id));
      for (const { name, parts, id } of sent) {
        expect([name, await app.asyncResult(id).get({ timeout: 10 })]).toEqual([name, parts.result]);
      }
      // Twice under one id: each message is a call of its own.
      const twin = randomUUID();
      await to.send(whole({ body: [[1, 2], {}, {}] }, twin));
      await to.send(whole({ body: [[1, 2], {}, {}] }, twin));
      await until(() => worker.lines.filter((line) => line.includes(`${twin}] succeeded`)).length === 2);
      // Protocol 1 has everything in its body.
      const old = {
        task: "acts.add",
        id: randomUUID(),
        args: [3, 4],
        kwargs: {},
        retries: 0,
        eta: null,
        expires: null,
        utc: true,
      };
      await to.send({ ...whole({ body: old }, ""), headers: {} });
      expect(await app.asyncResult(old.id).get({ timeout: 10 })).toBe(7);
      expect(await broker.deadLetters.count()).toBe(0);
      await expectUnharmed(on, children);
    }, 60_000);

    test("in what should follow a task costs that task its success, and nobody else anything", async () => {
      await using on = await stage(kind);
      const { worker, app, to } = on;
      const children = childrenOf(worker.pid);
      const followers: Readonly<Record<string, object>> = {
        "a callback with args that are a number": { callbacks: [{ task: "wt.echo", args: 5 }] },
        "a callback with options that are text": { callbacks: [{ task: "wt.echo", options: "x" }] },
        "a callback of no known kind": { callbacks: [{ task: "wt.echo", subtask_type: "heap" }] },
        "a chain with a hole": { chain: [{ task: "wt.echo", kwargs: [] }] },
        "a chord without anything": { chord: { task: "wt.echo" } },
        "a chord with options that are a list": { chord: { task: "wt.echo", options: [1] } },
      };
      for (const [name, embed] of Object.entries(followers)) {
        const id = randomUUID();
        await to.send(whole({ body: [[2, 3], {}, embed] }, id));
        const state = await until(() => stateOf(app, id), { message: name });
        expect([name, state]).toEqual([name, /^a chord/.test(name) ? "SUCCESS" : "FAILURE"]);
      }
      // What cannot be told of a failure does not hide the failure.
      for (const errbacks of [[{ task: "wt.echo", args: 5 }], [{ task: "wt.echo", options: "x" }]]) {
        const id = randomUUID();
        await to.send(whole({ headers: { task: "acts.fail" }, body: [[], {}, { errbacks }] }, id));
        const state = await until(() => stateOf(app, id), { message: "the failure of a task with broken errbacks" });
        expect(state).toBe("FAILURE");
      }
      await expectUnharmed(on, children);
    }, 60_000);

    test("with keys of Object.prototype changes nothing but its own values", async () => {
      await using on = await stage(kind);
      const { worker, app, to } = on;
      const children = childrenOf(worker.pid);
      const evil =
        '{"__proto__": {"polluted": "yes"}, "constructor": {"prototype": {"polluted": "yes"}}, "toString": 1}';
      const id = randomUUID();
      const headers = JSON.parse(
        `{"task": "acts.spread", "id": "${id}", "timelimit": [null, null], "stamps": ${evil}, "stamped_headers": ["__proto__"], ${evil.slice(1)}`,
      ) as Record<string, unknown>;
      const message = whole(
        { body: `[[${evil}], ${evil}, {"callbacks": null, "__proto__": {"polluted": "yes"}}]` },
        id,
      );
      await to.send({ ...message, headers });
      const result = (await app.asyncResult(id).get({ timeout: 10 })) as Record<string, unknown>;
      expect(result).toMatchObject({
        keys: ["__proto__", "constructor", "toString"],
        keywords: ["__proto__", "constructor", "toString"],
        polluted: [],
      });
      expect(JSON.parse(JSON.stringify(result.value))).toEqual(JSON.parse(evil));
      expect(Object.hasOwn(result.value as object, "__proto__")).toBe(true);
      expect(({} as Record<string, unknown>).polluted).toBeUndefined();
      // What is wrong with such headers is found by what they are, not by what they would inherit.
      await to.send({
        ...whole({}, ""),
        headers: JSON.parse('{"__proto__": {"task": "acts.add", "id": "inherited"}}'),
      });
      await to.send(whole({ headers: { task: "__proto__" } }, randomUUID()));
      await to.send(whole({ headers: { task: "constructor" } }, randomUUID()));
      await to.send(whole({ headers: { compression: "__proto__" } }, randomUUID()));
      await to.send(whole({ contentType: "constructor" }, randomUUID()));
      const letters = await dead(on, 5);
      expect(letters.map(({ reason }) => reason.slice(0, 40)).sort()).toHaveLength(5);
      expect(await app.asyncResult("inherited").state()).toBe("PENDING");
      await expectUnharmed(on, children);
    }, 60_000);

    test("of 200 MB is refused without being read", async () => {
      const size = (kind.name === "RabbitMQ" ? 120 : 200) * mebibyte;
      await using on = await stage(kind, [`worker_max_body_size=${100 * mebibyte}`]);
      const { worker, app, to, queue } = on;
      const children = childrenOf(worker.pid);
      const before = memoryOf(worker.pid);
      const id = randomUUID();
      await to.send(whole({ body: Buffer.alloc(size, 0x20) }, id));
      await to.send(whole({}, randomUUID()));
      const [letter] = await dead(on, 1, 60);
      expect(letter, worker.output.slice(-3_000)).toMatchObject({
        queue,
        reason: expect.stringMatching(/body has \d+ bytes, more than the (limit of )?104857600/),
      });
      expect(letter?.size).toBeGreaterThanOrEqual(size);
      await worker.printed(new RegExp(`more than the .*queue ${queue}`));
      expect(await app.asyncResult(id).state()).toBe("FAILURE");
      await until(() => memoryOf(worker.pid) - before < (kind.name === "RabbitMQ" ? 400 : 150), {
        timeout: 10,
        message: "memory to be given back",
      });
      await expectUnharmed(on, children);
    }, 120_000);

    test("which is too much for a child's memory costs the worker nothing but that message", async () => {
      await using on = await stage(kind, [], { NODE_OPTIONS: "--max-old-space-size=48" });
      const { worker, app, to, broker } = on;
      const id = randomUUID();
      await to.send(whole({ body: `[[${"{},".repeat(4 * mebibyte)}0], {}, {}]` }, id));
      const [letter] = await dead(on, 1, 60);
      expect(letter?.reason, worker.output.slice(-3_000)).toMatch(/3 child processes/);
      expect(await app.asyncResult(id).state()).toBe("FAILURE");
      const sum = await app.sendTask<number>("acts.add", [20, 22]);
      expect(await sum.get({ timeout: 10 })).toBe(42);
      expect((await worker.term()).code).toBe(0);
      expect(await broker.size(on.queue)).toBe(0);
    }, 120_000);
  });
}

const redis = brokerKinds.find(({ name }) => name === "Redis") as (typeof brokerKinds)[number];

describeWith(redis.needs, "an element of a Redis list", () => {
  test("that is no envelope, or lacks any part of one, is kept and left behind", async () => {
    await using on = await stage(redis);
    const { worker, app, to, queue } = on;
    const children = childrenOf(worker.pid);
    const sound = (id: string) => JSON.parse(envelope(whole({}, id), queue).join("")) as Envelope;
    const broken: Readonly<Record<string, readonly [element: (id: string) => string | Buffer, reason: RegExp | null]>> =
      {
        "no JSON": [() => "hello", /the envelope is not JSON/],
        bytes: [() => Buffer.from([0, 0xff, 0x80, 10, 13]), /the envelope is not JSON/],
        nothing: [() => "", /the envelope is not JSON/],
        "a list": [() => "[]", /the envelope is not a JSON object/],
        null: [() => "null", /the envelope is not a JSON object/],
        truncated: [(id) => JSON.stringify(sound(id)).slice(0, -10), /the envelope is not JSON/],
        "nested 100,000 deep": [() => nested(100_000), /nested more than 1000 levels/],
        "an empty object": [() => "{}", /body is missing/],
        "no body": [(id) => JSON.stringify({ ...sound(id), body: undefined }), /body is missing/],
        "a body that is an object": [(id) => JSON.stringify({ ...sound(id), body: {} }), /body is object, not text/],
        "no content-type": [
          (id) => JSON.stringify({ ...sound(id), "content-type": undefined }),
          /content-type is missing/,
        ],
        "no content-encoding": [(id) => JSON.stringify({ ...sound(id), "content-encoding": undefined }), null],
        "headers that are a list": [(id) => JSON.stringify({ ...sound(id), headers: [] }), /headers is a list/],
        "no headers": [(id) => JSON.stringify({ ...sound(id), headers: undefined }), /unknown message/],
        "no properties": [(id) => JSON.stringify({ ...sound(id), properties: undefined }), /properties is missing/],
        "no delivery_tag": [(id) => withProperty(sound(id), "delivery_tag"), /delivery_tag is missing/],
        "a delivery_tag that is a number": [
          (id) => withProperty(sound(id), "delivery_tag", 5),
          /delivery_tag is number/,
        ],
        "no delivery_info": [(id) => withProperty(sound(id), "delivery_info"), /delivery_info is missing/],
        "delivery_info that is text": [
          (id) => withProperty(sound(id), "delivery_info", "x"),
          /delivery_info is string/,
        ],
        "a body that is no base64": [
          (id) => JSON.stringify({ ...sound(id), body: "%%%not base64%%%" }),
          /not JSON|not utf-8/,
        ],
        "a body of base64 with line breaks": [
          (id) => JSON.stringify({ ...sound(id), body: "W1sy\nLCAz\r\nXSwg\ne30sIHt9XQ==\n" }),
          null,
        ],
        "a body of base64 cut short": [(id) => JSON.stringify({ ...sound(id), body: "W1syLCAzXSwge30sI" }), /not JSON/],
        "plain text that says it is base64": [
          (id) => JSON.stringify({ ...sound(id), body: "[[2, 3], {}, {}]" }),
          /not JSON|not utf-8/,
        ],
        "a priority that is text": [(id) => withProperty(sound(id), "priority", "high"), null],
        "reply_to and correlation_id that are numbers": [(id) => withProperty(sound(id), "reply_to", 5), null],
      };
    const sent = Object.entries(broken).map(([name, [make, reason]]) => ({ name, reason, id: randomUUID(), make }));
    for (const { make, id } of sent) await to.raw?.(make(id));
    const bad = sent.filter(({ reason }) => reason !== null);
    const letters = await dead(on, bad.length);
    for (const { name, reason, id } of sent) {
      if (reason === null) expect([name, await app.asyncResult(id).get({ timeout: 10 })]).toEqual([name, 5]);
      else
        expect([name, letters.some((letter) => reason.test(letter.reason) && letter.queue === queue)]).toEqual([
          name,
          true,
        ]);
    }
    expect(letters).toHaveLength(bad.length);
    const told = (): number => worker.lines.filter((line) => line.includes("kept in the dead-letter store")).length;
    await until(() => told() >= bad.length, { message: "each is told of in the log" });
    expect(told()).toBe(bad.length);
    // A damaged envelope that says whose it is gets a result all the same.
    const named = bad.filter(
      ({ make, id }) => /"headers":\{[^[]*"id"/.test(String(make(id))) && !String(make(id)).includes("{}],"),
    );
    expect(named.length).toBeGreaterThan(5);
    for (const { name, id } of named.filter(({ name }) => name !== "truncated")) {
      expect([name, await app.asyncResult(id).state()]).toEqual([name, "FAILURE"]);
    }
    const inRedis = new Redis(to.url as string);
    expect([await inRedis.hlen("unacked"), await inRedis.zcard("unacked_index")]).toEqual([0, 0]);
    inRedis.disconnect();
    await expectUnharmed(on, children);
  }, 60_000);

  test("as captured from experiments with a Python worker does what it should", async () => {
    await using on = await stage(redis);
    const { worker, app, to, queue } = on;
    const children = childrenOf(worker.pid);
    const { captured } = JSON.parse(
      readFileSync(join(root, "test", "fixtures", "accept_task_messages.json"), "utf8"),
    ) as { readonly captured: { readonly experiments: readonly Experiment[] } };
    // They say where they came through, and a retry goes back there.
    const here = (sent: object): string =>
      JSON.stringify(sent).replaceAll('"routing_key":"celery"', `"routing_key":${JSON.stringify(queue)}`);
    for (const { sent } of captured.experiments) await to.raw?.(typeof sent === "string" ? sent : here(sent));
    const refused = captured.experiments.filter(({ name }) => name in deadThere);
    const letters = await dead(on, refused.length);
    for (const { name, sent, result_meta: python } of captured.experiments) {
      const id = typeof sent === "string" ? null : idOf(sent);
      const reason = deadThere[name];
      if (reason !== undefined) {
        expect([name, letters.filter((letter) => reason.test(letter.reason)).length > 0]).toEqual([name, true]);
        if (id !== null) expect([name, await app.asyncResult(id).state()]).toEqual([name, "FAILURE"]);
        continue;
      }
      const value = await app.asyncResult(id as string).get({ timeout: 10 });
      // What a Python worker could run gives what it gave there; what it could not, what was meant.
      const expected = python?.status === "SUCCESS" ? python.result : runsHere[name];
      expect([name, value]).toEqual([name, expected]);
    }
    expect(letters).toHaveLength(refused.length);
    expect(await on.broker.size(queue)).toBe(0);
    await expectUnharmed(on, children);
  }, 60_000);
});

type Envelope = Readonly<Record<string, unknown>> & { readonly properties: Readonly<Record<string, unknown>> };

/** The envelope with one property of another value, or without it. */
const withProperty = (sound: Envelope, name: string, value?: unknown): string =>
  JSON.stringify({ ...sound, properties: { ...sound.properties, [name]: value } });

interface Experiment {
  readonly name: string;
  readonly sent: string | { readonly body: string; readonly headers: Readonly<Record<string, unknown>> };
  readonly result_meta: { readonly status: string; readonly result: unknown } | null;
}

/** The id, from the headers or, in protocol 1, from the body. */
function idOf({ headers, body }: Exclude<Experiment["sent"], string>): string | null {
  if (typeof headers.id === "string") return headers.id;
  return /"id": "([^"]+)"/.exec(Buffer.from(body, "base64").toString())?.[1] ?? null;
}

/** Of the experiments, those that are no tasks to anybody; four of them make a Python worker exit. */
const deadThere: Readonly<Record<string, RegExp>> = {
  no_delivery_info: /delivery_info is missing/,
  no_delivery_tag: /delivery_tag is missing/,
  no_content_type: /content-type is missing/,
  raw_not_json: /the envelope is not JSON/,
  eta_garbage: /eta must be an ISO 8601 time, got: tomorrow/,
  eta_number: /header `eta` must be/,
  args_null: /args that are null/,
  no_task_anywhere: /unknown message/,
  undecodable_json_body: /not JSON/,
  unknown_compression: /unknown compression/,
  content_type_not_accepted: /x-nope.*is not accepted/,
};

/** Those a Python worker drops or dies of, and which are plain enough to be run. */
const runsHere: Readonly<Record<string, unknown>> = {
  kwargs_null: 3,
  body_2_elements: 3,
  unknown_type_marker: [{ __type__: "zzz", __value__: 1 }],
  signature_missing_keys_callback: 3,
};
