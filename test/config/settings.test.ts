import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { toCamelCase, toSnakeCase } from "../../src/config/names.ts";
import {
  defaultSettings,
  definitionOf,
  isSettingKey,
  oldNameOf,
  type SettingKey,
  settingKeys,
  settingNamed,
} from "../../src/config/settings.ts";

/** Name, default and old name of every setting of Celery, one a line. */
const rows = readFileSync(new URL("celery-settings.txt", import.meta.url), "utf8")
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"))
  .map((line) => line.split("\t") as [name: string, fallback: string, old: string]);

/** Defaults of ours that are not Celery's, each written in the other's terms elsewhere. */
const differing = new Set(["task_publish_retry_policy"]);

/** The settings Celery reads and does not list. */
const unlisted = [
  "override_backends",
  "result_backend_thread_safe",
  "redis_backend_health_check_interval",
  "redis_backend_credential_provider",
  "redis_client_name",
  ...["worker", "beat", "events"].flatMap((command) =>
    ["logfile", "pidfile", "uid", "gid", "umask", "executable"].map((name) => `${command}_${name}`),
  ),
];

test("the list holds the 198 settings of Celery", () => {
  expect(new Set(rows.map(([name]) => name)).size).toBe(198);
});

test("every setting of Celery exists under its camel case name, and the names lead back and forth", () => {
  const missing = rows.filter(([name]) => !isSettingKey(toCamelCase(name)) || toSnakeCase(toCamelCase(name)) !== name);
  expect(missing).toEqual([]);
});

test("every default is Celery's", () => {
  for (const [name, fallback] of rows) {
    const ours: unknown = defaultSettings[toCamelCase(name) as SettingKey];
    const celerys: unknown = fallback === '"inf"' ? Number.POSITIVE_INFINITY : JSON.parse(fallback);
    if (!differing.has(name)) expect({ name, value: ours }).toEqual({ name, value: celerys });
  }
  expect(defaultSettings.taskPublishRetryPolicy).toEqual({
    maxRetries: 3,
    intervalStart: 0,
    intervalMax: 1,
    intervalStep: 0.2,
  });
});

test("every name from before Celery 4 means the setting of today", () => {
  for (const [name, , old] of rows) {
    const key = toCamelCase(name) as SettingKey;
    expect(oldNameOf(key)).toBe(old);
    expect(settingNamed(old)).toEqual({ key, isOld: true });
  }
});

test("what is not Celery's is marked as our own, and has no old name", () => {
  const celerys = new Set([...rows.map(([name]) => name), ...unlisted].map(toCamelCase));
  expect([...celerys].filter((name) => !isSettingKey(name))).toEqual([]);
  const own = settingKeys.filter((key) => !celerys.has(key));
  expect(own.sort()).toEqual(settingKeys.filter((key) => definitionOf(key).own).sort());
  expect(own).toContain("workerMaxBodySize");
  expect(own.map(oldNameOf)).toEqual(own.map(() => null));
});

test("every default keeps its own rule and every setting has a line of documentation", () => {
  for (const key of settingKeys) {
    const { rule, default: fallback, doc } = definitionOf(key);
    if (key !== "taskPublishRetryPolicy")
      expect({ key, value: rule.parse(fallback) }).toEqual({ key, value: fallback });
    expect(doc).toMatch(/^.{3,120}\.$|…\.?$/);
    if (rule.example !== undefined) expect(rule.parse(rule.example)).toBeDefined();
  }
});

test("defaults are frozen, and so is what they hold", () => {
  expect(Object.isFrozen(defaultSettings)).toBe(true);
  const open = settingKeys.filter((key) => {
    const value: unknown = defaultSettings[key];
    return typeof value === "object" && value !== null && !Object.isFrozen(value);
  });
  expect(open).toEqual([]);
});

test("both spellings and no other mean a setting", () => {
  expect(settingNamed("taskDefaultQueue")).toEqual({ key: "taskDefaultQueue", isOld: false });
  expect(settingNamed("task_default_queue")).toEqual({ key: "taskDefaultQueue", isOld: false });
  expect(settingNamed("TASK_DEFAULT_QUEUE")).toBeNull();
  for (const name of ["__proto__", "constructor", "toString", "", "hasOwnProperty"]) {
    expect(settingNamed(name)).toBeNull();
  }
});

test("what counts as honoured is read somewhere, by its name", () => {
  const source = new URL("../../src/", import.meta.url).pathname;
  const text = readdirSync(source, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && (!file.startsWith("config/") || file === "config/effective.ts"))
    .map((file) => readFileSync(join(source, file), "utf8"))
    .join("\n");
  const words = new Set(text.match(/\w+/g));
  expect(settingKeys.filter((key) => definitionOf(key).honoured && !words.has(key))).toEqual([]);
});
