import { describe, expect, test } from "vitest";
import { InvalidTaskError } from "../../src/errors.ts";
import type { Message } from "../../src/protocol/message.ts";
import {
  createTaskHeaders,
  isTaskMessage,
  NO_EMBED,
  readTaskBody,
  readTaskHeaders,
} from "../../src/protocol/task-message.ts";
import { bodyFromV1, headersFromV1, isV1Body } from "../../src/protocol/task-message-v1.ts";

const message = (headers: Record<string, unknown>): Message => ({
  headers,
  properties: {},
  contentType: "application/json",
  contentEncoding: "utf-8",
  body: "",
});
const target = { task: "add", id: "1" };

test("headers made here have all keys in the wire's order", () => {
  const headers = createTaskHeaders(target);
  expect(Object.keys(headers)).toEqual([
    "lang",
    "task",
    "id",
    "shadow",
    "eta",
    "expires",
    "group",
    "group_index",
    "retries",
    "timelimit",
    "root_id",
    "parent_id",
    "argsrepr",
    "kwargsrepr",
    "origin",
    "ignore_result",
    "replaced_task_nesting",
    "stamped_headers",
    "stamps",
  ]);
  expect(headers).toMatchObject({ lang: "js", root_id: "1", ignore_result: null, timelimit: [null, null] });
});

test("complete headers are given back as they are, user headers included", () => {
  const complete = { ...createTaskHeaders(target), mine: 1 };
  expect(readTaskHeaders(message(complete))).toBe(complete);
});

test("missing and null headers get their defaults; the message is not changed", () => {
  const sparse = Object.freeze({ task: "add", id: "1", timelimit: null, retries: null, mine: null });
  const read = readTaskHeaders(message(sparse));
  expect(read).toEqual({
    ...createTaskHeaders(target),
    lang: "py",
    root_id: null,
    argsrepr: "",
    kwargsrepr: "",
    mine: null,
  });
});

test.each([
  [{}, "task"],
  [{ task: "add" }, "`id`"],
  [{ task: null, id: "1" }, "`task`"],
  [{ task: "", id: "1" }, "`task`"],
  [{ task: ["add"], id: "1" }, "`task`"],
  [{ ...target, id: 5 }, "`id` must be text that is not empty; got 5"],
  [{ ...target, eta: 1700000000 }, "`eta`"],
  [{ ...target, expires: {} }, "`expires`"],
  [{ ...target, retries: -1 }, "`retries`"],
  [{ ...target, retries: "0" }, "`retries`"],
  [{ ...target, retries: 10n }, "`retries`"],
  [{ ...target, timelimit: [1] }, "`timelimit`"],
  [{ ...target, timelimit: ["1", null] }, "`timelimit`"],
  [{ ...target, group_index: 1.5 }, "`group_index`"],
  [{ ...target, ignore_result: "no" }, "`ignore_result`"],
  [{ ...target, stamps: [] }, "`stamps`"],
  [{ ...target, stamped_headers: [1] }, "`stamped_headers`"],
])("%#: a wrong header is named", (headers, name) => {
  expect(() => readTaskHeaders(message(headers))).toThrow(InvalidTaskError);
  expect(() => readTaskHeaders(message(headers))).toThrow(name);
});

test("headers that pose as prototypes are no headers", () => {
  const posing = JSON.parse('{"__proto__": {"task": "evil", "id": "1"}}') as Record<string, unknown>;
  expect(isTaskMessage(message(posing))).toBe(false);
  expect(() => readTaskHeaders(message(posing))).toThrow(InvalidTaskError);
  const both = JSON.parse('{"task": "add", "id": "1", "__proto__": {"retries": 7}, "constructor": 1}') as Record<
    string,
    unknown
  >;
  const read = readTaskHeaders(message(both));
  expect([read.retries, Object.getPrototypeOf(read)]).toEqual([0, Object.prototype]);
  expect(isTaskMessage(message(Object.create({ task: "evil" }) as Record<string, unknown>))).toBe(false);
});

describe("bodies", () => {
  const signature = { task: "next", args: [], kwargs: {}, options: {}, subtask_type: null, immutable: false };

  test("a complete body is given back as it is", () => {
    const body = [[1], { a: 1 }, { callbacks: [signature], errbacks: null, chain: [], chord: signature }];
    expect(readTaskBody(body, target)).toBe(body);
  });

  test.each([
    [
      [[1], {}, null],
      [[1], {}, NO_EMBED],
    ],
    [
      [[1], {}],
      [[1], {}, NO_EMBED],
    ],
    [
      [[1], null, {}],
      [[1], {}, NO_EMBED],
    ],
    [
      [[1], {}, { chain: [signature] }],
      [[1], {}, { ...NO_EMBED, chain: [signature] }],
    ],
    [
      [[1], {}, { callbacks: signature, chord: null }],
      [[1], {}, { ...NO_EMBED, callbacks: [signature] }],
    ],
  ])("%#: what is missing is nothing", (body, read) => {
    expect(readTaskBody(body, target)).toEqual(read);
  });

  test.each([
    [null, "null"],
    ["text", "a string"],
    [[], "a list of 0"],
    [[[1]], "a list of 1"],
    [[null, {}, {}], "args that are null"],
    [["ab", {}, {}], "args that are a string"],
    [[[], [], {}], "kwargs that are a list"],
    [[[], 5, {}], "kwargs that are a number"],
    [[[], new Map([[1, 2]]), {}], "kwargs"],
    [[[], {}, []], "an embed that is a list"],
    [[[], {}, { callbacks: [1] }], "callbacks[0]"],
    [[[], {}, { chain: [signature, { args: [] }] }], "chain[1]"],
    [[[], {}, { chord: "x" }], "chord[0]"],
    [{ kwargs: {} }, "a object"],
  ])("%#: a wrong body is refused with its task", (body, problem) => {
    expect(() => readTaskBody(body, target)).toThrow(InvalidTaskError);
    expect(() => readTaskBody(body, target)).toThrow(/add\[1\]/);
    expect(() => readTaskBody(body, target)).toThrow(problem);
  });
});

describe("protocol 1", () => {
  const v1 = {
    task: "add",
    id: "1",
    args: [1, 2],
    kwargs: { a: 1 },
    group: "g",
    taskset: "t",
    utc: true,
    eta: "2024-05-06T07:08:09",
    callbacks: null,
  };

  test("becomes protocol 2; taskset wins over group", () => {
    expect(isV1Body(v1)).toBe(true);
    expect(headersFromV1(v1)).toMatchObject({
      task: "add",
      id: "1",
      group: "t",
      eta: "2024-05-06T07:08:09",
      root_id: null,
      argsrepr: "(1, 2)",
      kwargsrepr: "{'a': 1}",
      retries: 0,
    });
    expect(bodyFromV1(v1)).toEqual([[1, 2], { a: 1 }, NO_EMBED]);
    expect(readTaskBody(v1, target)).toEqual(bodyFromV1(v1));
  });

  test("dates without a zone are local when the sender says so", () => {
    const local = headersFromV1({ ...v1, utc: false }).eta as string;
    expect(new Date(local).getTime()).toBe(new Date(2024, 4, 6, 7, 8, 9).getTime());
    expect(headersFromV1({ ...v1, utc: false, eta: "2024-05-06T07:08:09Z" }).eta).toBe("2024-05-06T07:08:09Z");
    expect(headersFromV1({ ...v1, utc: false, eta: "garbage" }).eta).toBe("garbage");
  });

  test.each([
    [{ args: [] }, "no task"],
    [{ args: [], task: 5 }, "no task"],
    [{ args: [], task: "add" }, "no id"],
    [{ ...v1, eta: 5 }, "`eta`"],
    [{ ...v1, retries: "x" }, "`retries`"],
    [{ ...v1, timelimit: 5 }, "`timelimit`"],
    [{ ...v1, args: 5 }, "args"],
    [{ ...v1, kwargs: 5 }, "kwargs"],
  ])("%#: a wrong one is refused", (body, problem) => {
    expect(() => headersFromV1(body)).toThrow(InvalidTaskError);
    expect(() => headersFromV1(body)).toThrow(problem);
  });
});
