import { describe, expect, test } from "vitest";
import { decodeEnvelope, encodeEnvelope, markRedelivered, readEnvelope } from "../../src/protocol/envelope.ts";
import { decodeError, encodeError, errorRepr, isWireError, type WireError } from "../../src/protocol/exception.ts";
import type { Message } from "../../src/protocol/message.ts";
import { createTaskHeaders, isTaskMessage, readTaskBody, readTaskHeaders } from "../../src/protocol/task-message.ts";
import { bodyFromV1, headersFromV1, isV1Body } from "../../src/protocol/task-message-v1.ts";
import {
  createGroupMeta,
  createTaskMeta,
  readGroupMeta,
  readTaskMeta,
  type TaskMeta,
} from "../../src/protocol/task-meta.ts";
import { parseWireJson } from "../../src/protocol/wire-json.ts";
import { codecNamed } from "../../src/serialization/compression.ts";
import { decodeJson, encodeJson } from "../../src/serialization/json.ts";
import { decodeBody, encodeBody, normalizeAccept } from "../../src/serialization/registry.ts";
import { parseIso } from "../../src/util/iso8601.ts";
import { argsRepr, kwargsRepr } from "../../src/util/repr.ts";
import {
  amqpFrames,
  documentIn,
  envelopeTexts,
  fixtureNames,
  groupTexts,
  isObject,
  messageOfFrame,
  metaTexts,
  readFixture,
  unackedEntries,
} from "./documents.ts";

/*
 * Every document of the captured traffic. The numbers are counted by a separate program, so
 * that a test cannot quietly see nothing.
 */

const everyType = normalizeAccept(["json", "yaml", "msgpack", "pickle"]);
const envelopes = envelopeTexts();
const frames = amqpFrames();
const metas = metaTexts();

/** lzma needs a package that is not installed by default. */
const hasLzma = await Promise.resolve()
  .then(() => codecNamed("lzma"))
  .then(
    () => true,
    () => false,
  );

function taskEnvelopes(): { file: string; message: Message }[] {
  return envelopes
    .map(({ file, value }) => ({ file, message: decodeEnvelope(value).message }))
    .filter(({ message }) => isTaskMessage(message));
}

/** The embed of an unreadable signature is not part of the message format. */
const readable = ({ message }: { message: Message }): boolean =>
  message.contentType !== "application/data" && (hasLzma || message.headers.compression !== "application/x-lzma");

test("all fixtures are here", () => {
  expect(fixtureNames.length).toBe(283);
});

describe("envelopes", () => {
  test("each is sound, and encodes again to an equal document", () => {
    expect(envelopes.length).toBe(932);
    for (const { file, value } of envelopes) {
      const { message, address, deliveryTag, redelivered, damage } = decodeEnvelope(value);
      expect(damage, file).toBeNull();
      const again = encodeEnvelope(message, address, deliveryTag as string);
      expect(parseWireJson(redelivered ? markRedelivered(again) : again), file).toEqual(parseWireJson(value));
    }
  });

  test("those that were put back say so, and marking them again changes nothing", () => {
    const redelivered = envelopes.filter(({ value }) => decodeEnvelope(value).redelivered);
    expect(redelivered.length).toBe(11);
    for (const { file, value } of redelivered)
      expect(parseWireJson(markRedelivered(value)), file).toEqual(parseWireJson(value));
  });

  test("an entry of unacked carries an envelope as a document", () => {
    const entries = unackedEntries();
    expect(entries.length).toBe(99);
    for (const { file, value } of entries) {
      const [document, exchange, routingKey] = value;
      const { message, address, deliveryTag, damage } = readEnvelope(document);
      expect(damage, file).toBeNull();
      expect(address, file).toEqual({ exchange, routingKey });
      if (document.headers !== undefined && !decodeEnvelope(JSON.stringify(document)).redelivered) {
        expect(parseWireJson(encodeEnvelope(message, address, deliveryTag as string)), file).toEqual(document);
      }
    }
  });
});

describe("task messages", () => {
  const messages = [
    ...taskEnvelopes(),
    ...frames
      .map(({ file, value }) => ({ file, message: messageOfFrame(value) }))
      .filter(({ message }) => isTaskMessage(message)),
  ];

  test("headers of protocol 2 are complete as they come, and making them anew gives the same in the same order", () => {
    expect(messages.length).toBe(293 + 70);
    let complete = 0;
    let inOrder = 0;
    for (const { file, message } of messages) {
      const headers = readTaskHeaders(message);
      const made = createTaskHeaders(headers);
      if (headers === message.headers) {
        complete += 1;
        const own = Object.keys(made);
        const order = Object.keys(headers).filter((key) => own.includes(key));
        // RabbitMQ delivers tables sorted.
        if (order[0] === "lang") inOrder += 1;
        expect(order[0] === "lang" ? order : order.sort(), file).toEqual(order[0] === "lang" ? own : own.sort());
      }
      expect({ ...headers, ...made, ignore_result: headers.ignore_result }, file).toEqual(headers);
      if (headers.eta !== null) expect(parseIso(headers.eta), file).toBeInstanceOf(Date);
      if (headers.expires !== null) expect(parseIso(headers.expires), file).toBeInstanceOf(Date);
    }
    expect(complete).toBe(messages.length);
    expect(inOrder).toBeGreaterThan(293);
  });

  test("bodies read as arguments and what follows, in every serializer and compression", async () => {
    const bodies = messages.filter(readable);
    expect(bodies.length).toBe(363 - 2 - (hasLzma ? 0 : 4));
    for (const { file, message } of bodies) {
      const headers = readTaskHeaders(message);
      const decoded = await decodeBody(message, everyType);
      const body = readTaskBody(decoded, headers);
      expect(body, file).toBe(decoded);
      expect(Object.keys(body[2]).sort(), file).toEqual(["callbacks", "chain", "chord", "errbacks"]);
    }
  });

  test("json bodies encode again to an equal document", async () => {
    let seen = 0;
    for (const { file, message } of messages) {
      if (message.contentType !== "application/json" || message.headers.compression !== undefined) continue;
      seen += 1;
      const original = Buffer.from(message.body, "base64").toString("utf8");
      const { body, contentType, contentEncoding } = await encodeBody(decodeJson(original), "json");
      expect(parseWireJson(Buffer.from(body, "base64").toString("utf8")), file).toEqual(parseWireJson(original));
      expect([contentType, contentEncoding], file).toEqual([message.contentType, message.contentEncoding]);
    }
    expect(seen).toBe(330);
  });

  test("bodies in other formats encode again to what reads the same", async () => {
    let seen = 0;
    const names: Readonly<Record<string, string>> = {
      "application/json": "json",
      "application/x-yaml": "yaml",
      "application/x-msgpack": "msgpack",
      "application/x-python-serialize": "pickle",
    };
    for (const { file, message } of messages.filter(readable)) {
      const compression = (message.headers.compression as string | undefined) ?? null;
      if (message.contentType === "application/json" && compression === null) continue;
      // An instance of a class only Python has can be looked at here, not sent on.
      if (file === "result_exception_types.json") continue;
      seen += 1;
      const value = await decodeBody(message, everyType);
      const encoded = await encodeBody(value, names[message.contentType] as string, compression);
      expect(encoded.contentType, file).toBe(message.contentType);
      expect(encoded.contentEncoding, file).toBe(message.contentEncoding);
      expect(encoded.compression ?? null, file).toBe(compression);
      expect(await decodeBody({ ...encoded, headers: message.headers }, everyType), file).toEqual(value);
    }
    expect(seen).toBe(363 - 2 - (hasLzma ? 0 : 4) - 330 - 1);
  });

  test("arguments have the same representation here as in Python", async () => {
    let seen = 0;
    for (const { file, message } of messages.filter(readable)) {
      const headers = readTaskHeaders(message);
      const [args, kwargs] = readTaskBody(await decodeBody(message, everyType), headers);
      // Python shows a signature among the arguments by its own repr, and saw tuples where JSON has lists.
      const shown = headers.argsrepr.replace(/\((\d+), (\d+)\)(?=.*\))/g, (pair, a, b, at) =>
        at === 0 ? pair : `[${a}, ${b}]`,
      );
      if (JSON.stringify(args).includes("subtask_type") || JSON.stringify(kwargs).includes("subtask_type")) continue;
      if (headers.argsrepr.includes("<object object at")) continue;
      seen += 1;
      expect([file, argsRepr(args), kwargsRepr(kwargs)]).toEqual([file, shown, headers.kwargsrepr]);
    }
    expect(seen).toBeGreaterThan(200);
  });

  test("messages of protocol 1 become those of protocol 2", () => {
    const sent = envelopes
      .map(({ file, value }) => ({ file, message: decodeEnvelope(value).message }))
      .filter(({ message }) => !isTaskMessage(message) && message.contentType === "application/json")
      .map(({ file, message }) => ({ file, decoded: decodeBody(message, everyType) }))
      .filter(({ decoded }) => isV1Body(decoded) && "task" in decoded);
    expect(sent.length).toBe(10);
    for (const { file, decoded } of sent) {
      if (!isV1Body(decoded)) throw new Error("unreachable");
      const headers = headersFromV1(decoded);
      const [args, kwargs, embed] = bodyFromV1(decoded);
      const { task, id, group, eta, expires, retries, timelimit } = headers;
      expect(
        { task, id, group, eta, expires, retries, timelimit, args, kwargs, callbacks: embed.callbacks },
        file,
      ).toEqual({
        task: decoded.task,
        id: decoded.id,
        group: decoded.group,
        eta: decoded.eta,
        expires: decoded.expires,
        retries: decoded.retries,
        timelimit: decoded.timelimit,
        args: decoded.args,
        kwargs: decoded.kwargs,
        callbacks: decoded.callbacks,
      });
      expect(embed.chain, file).toBeNull();
      expect(
        readTaskHeaders({ headers: { ...headers }, properties: {}, contentType: "", contentEncoding: "", body: "" }),
        file,
      ).toEqual(headers);
    }
  });
});

describe("results", () => {
  test("each reads as it is, and making it anew gives the same document in the same order", () => {
    expect(metas.length).toBe(399);
    let complete = 0;
    for (const { file, value } of metas) {
      const document = decodeJson(value) as Record<string, unknown>;
      const meta = readTaskMeta(document, String(document.task_id));
      if ((meta as unknown) === document) complete += 1;
      // What the result store of RPC writes has another order, and no date (protocol 7.3).
      if (!("date_done" in document)) continue;
      const again = encodeJson(createTaskMeta({ ...meta, stamps: document }));
      expect(parseWireJson(again), file).toEqual(parseWireJson(value));
      expect(Object.keys(JSON.parse(again) as object), file).toEqual(Object.keys(JSON.parse(value) as object));
    }
    expect(complete).toBeGreaterThan(370);
  });

  test("saved groups read as their members and are written the same", () => {
    const groups = groupTexts();
    expect(groups.length).toBe(7);
    for (const { file, value } of groups) {
      const tuple = readGroupMeta(decodeJson(value), "any");
      expect(parseWireJson(encodeJson(createGroupMeta(tuple))), file).toEqual(parseWireJson(value));
    }
  });

  test("exceptions become errors that say the same, and encode again to an equal document", () => {
    const found: { file: string; wire: WireError; traceback: string | null }[] = [];
    const search = (value: unknown, file: string, traceback: string | null): void => {
      if (isWireError(value)) found.push({ file, wire: value, traceback });
      if (typeof value === "object" && value !== null)
        for (const child of Object.values(value)) search(child, file, traceback);
    };
    for (const { file, value } of metas) {
      const meta = documentIn(value) as TaskMeta;
      search(meta, file, meta.traceback);
    }
    expect(found.length).toBe(114);
    for (const { file, wire, traceback } of found) {
      const error = decodeError(wire, traceback);
      expect(error.name, file).toBe(wire.exc_type);
      expect(encodeError(error), file).toEqual(wire);
      expect((error as Error & { remoteTraceback?: string }).remoteTraceback, file).toBe(traceback);
      const repr = errorRepr(wire);
      if (traceback?.trimEnd().endsWith(")")) continue;
      expect(repr, file).toMatch(new RegExp(`^${wire.exc_type}\\(.*\\)$`, "s"));
    }
  });

  test.each(["pickle", "msgpack", "yaml"])("results in %s read like those in json", async (serializer) => {
    const { captured } = readFixture(`result_serializer_${serializer}`);
    const types: Readonly<Record<string, string>> = {
      pickle: "application/x-python-serialize",
      msgpack: "application/x-msgpack",
      yaml: "application/x-yaml",
    };
    let seen = 0;
    for (const [key, entry] of Object.entries(captured as Record<string, { value: unknown }>)) {
      const raw = entry.value;
      const body =
        isObject(raw) && typeof raw.__b64__ === "string"
          ? raw.__b64__
          : typeof raw === "string"
            ? Buffer.from(raw).toString("base64")
            : null;
      if (body === null || !/meta-[0-9a-f-]{36}$/.test(key)) continue;
      const decoded = await decodeBody(
        { headers: {}, contentType: types[serializer] as string, contentEncoding: "binary", body },
        everyType,
      );
      seen += 1;
      if (key.includes("taskset")) expect(readGroupMeta(decoded, key)[0][0], key).toBe(key.slice(-36));
      else {
        const meta = readTaskMeta(decoded, key.slice(-36));
        expect(meta.task_id, key).toBe(key.slice(-36));
        if (meta.status === "FAILURE") expect(decodeError(meta.result, meta.traceback).name, key).not.toBe("Error");
      }
    }
    expect(seen).toBeGreaterThanOrEqual(3);
  });
});

describe("hand-made input to Python peers", () => {
  interface Experiment {
    readonly name: string;
    readonly sent: unknown;
    readonly meta: unknown;
    readonly result_meta: { readonly status: string } | null;
    readonly python_reads: Readonly<Record<string, string>>;
  }
  const experimentsOf = (name: string): readonly Experiment[] =>
    (readFixture(name).captured as { experiments: readonly Experiment[] }).experiments;

  const outcomeOf = (sent: unknown): string => {
    const { message, damage } = decodeEnvelope(typeof sent === "string" ? sent : JSON.stringify(sent));
    if (damage !== null) return "damaged";
    try {
      const decoded = decodeBody(message, normalizeAccept(["json"]));
      const headers = isTaskMessage(message)
        ? readTaskHeaders(message)
        : isV1Body(decoded)
          ? headersFromV1(decoded)
          : null;
      if (headers === null) return "no task";
      readTaskBody(decoded, headers);
      if (headers.eta !== null) parseIso(headers.eta);
      return "runs";
    } catch (error) {
      return (error as Error).name;
    }
  };

  test.each([
    ["minimal_headers_task_id", "runs"],
    ["embed_null", "runs"],
    ["no_delivery_info", "damaged"],
    ["plain_text_body_no_body_encoding", "runs"],
    ["no_content_encoding", "runs"],
    ["no_content_type", "damaged"],
    ["eta_Z_ms_past", "runs"],
    ["expires_Z_future", "runs"],
    ["eta_garbage", "RangeError"],
    ["eta_number", "InvalidTaskError"],
    ["kwargs_null", "runs"],
    ["args_null", "InvalidTaskError"],
    ["body_2_elements", "runs"],
    ["timelimit_null", "runs"],
    ["retries_missing_retry_task", "runs"],
    ["lang_js_origin_custom", "runs"],
    ["proto1_minimal", "runs"],
    ["hybrid_headers_plus_object_body", "runs"],
    ["no_task_anywhere", "no task"],
    ["undecodable_json_body", "DecodeError"],
    ["unknown_compression", "DecodeError"],
    ["content_type_not_accepted", "ContentDisallowed"],
    ["unknown_type_marker", "runs"],
    ["signature_minimal_callback", "runs"],
    ["signature_missing_keys_callback", "runs"],
    ["stamps_without_stamped_headers", "runs"],
    ["no_delivery_tag", "damaged"],
    ["after_no_delivery_tag_normal", "runs"],
    ["raw_not_json", "damaged"],
    ["after_raw_not_json_normal", "runs"],
  ])("the message %s: %s", (name, outcome) => {
    const experiments = experimentsOf("accept_task_messages");
    expect(experiments.length).toBe(30);
    const experiment = experiments.find((each) => each.name === name);
    expect(outcomeOf(experiment?.sent)).toBe(outcome);
  });

  test("the body of a hybrid wins over its headers", () => {
    const sent = experimentsOf("accept_task_messages").find(
      (each) => each.name === "hybrid_headers_plus_object_body",
    )?.sent;
    const { message } = decodeEnvelope(JSON.stringify(sent));
    const [args] = readTaskBody(decodeBody(message, everyType), readTaskHeaders(message));
    expect((args as number[]).reduce((sum, each) => sum + each, 0)).toBe(11);
  });

  test("every result a Python client reads is read here, and shows the same exception", () => {
    const experiments = experimentsOf("accept_result_meta");
    expect(experiments.length).toBe(11);
    for (const { name, meta, python_reads: python } of experiments) {
      const read = readTaskMeta(meta, "id");
      expect(read.task_id, name).toBe(name === "no_children" ? "x" : "id");
      if (python.state === undefined) continue;
      expect(read.status, name).toBe(python.state);
      if (read.status === "FAILURE" || read.status === "REVOKED")
        expect(errorRepr(decodeError(read.result, null)), name).toBe(python.result);
    }
  });
});
