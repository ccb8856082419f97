import { expect, test } from "vitest";
import { createMemoryBackend } from "../../src/backend/memory/backend.ts";
import { defaultBackendOptions } from "../../src/backend/options.ts";
import { decodeRecord, encodeRecord } from "../../src/backend/record.ts";
import { createSqliteBackend } from "../../src/backend/sqlite/backend.ts";
import { metaOf } from "../contract/backend.ts";
import { temporaryFolder } from "../helpers/tmp.ts";

const options = { serializer: "json", replyTo: "reply", correlationId: "c1" };
const accept = new Set(["application/json", "application/x-msgpack", "application/x-yaml"]);

test("json is encoded at once, as text", () => {
  const meta = metaOf({ text: "Zoë" });
  expect(encodeRecord(meta, options)).toEqual({
    taskId: meta.task_id,
    state: "SUCCESS",
    contentType: "application/json",
    contentEncoding: "utf-8",
    body: JSON.stringify(meta),
    binary: false,
    replyTo: "reply",
    correlationId: "c1",
  });
});

test.each(["json", "msgpack", "yaml"])("a record in %s is read again", async (serializer) => {
  const meta = metaOf({ list: [1, "two", null], text: "李" });
  const record = await encodeRecord(meta, { ...options, serializer });
  expect(await decodeRecord(record, accept)).toEqual(meta);
});

test("stores keep a binary record", async () => {
  await using folder = await temporaryFolder();
  const meta = metaOf({ list: [1, 2] });
  const record = await encodeRecord(meta, { ...options, serializer: "msgpack" });
  expect(record.binary).toBe(true);
  for (const backend of [
    createMemoryBackend("memory://binary", { ...defaultBackendOptions, accept }),
    createSqliteBackend(`sqlite://${folder.file("tq.db")}`, { ...defaultBackendOptions, accept }),
  ]) {
    await backend.store(record);
    expect(await backend.load(meta.task_id)).toEqual(meta);
    await backend.close();
  }
});

test("a content type that is not accepted is not decoded", async () => {
  const record = await encodeRecord(metaOf(1), { ...options, serializer: "msgpack" });
  await expect(decodeRecord(record, new Set(["application/json"]))).rejects.toMatchObject({
    name: "ContentDisallowed",
  });
  const json = await encodeRecord(metaOf(1), options);
  await expect(decodeRecord(json, new Set(["application/x-msgpack"]))).rejects.toMatchObject({
    name: "ContentDisallowed",
  });
});

test("a body that is no result is a DecodeError", async () => {
  const stored = { contentType: "application/json", contentEncoding: "utf-8", binary: false };
  await expect(decodeRecord({ ...stored, body: "[1]" }, accept, "t1")).rejects.toThrow(/t1/);
  await expect(decodeRecord({ ...stored, body: "{" }, accept)).rejects.toMatchObject({ name: "DecodeError" });
});
