/**
 * Every setting there is, their type, and their defaults (inventory H). Keys are camel case; the
 * snake case of Celery follows from them (`names.ts`), and the names from before Celery 4 by
 * `oldNameOf`.
 */
import { toCamelCase, toSnakeCase } from "./names.ts";
import type { InputOf, Setting, ValueOf } from "./setting.ts";
import { appSettings } from "./settings/app.ts";
import { beatSettings } from "./settings/beat.ts";
import { brokerSettings } from "./settings/broker.ts";
import { monitoringSettings } from "./settings/monitoring.ts";
import { redisSettings } from "./settings/redis.ts";
import { resultSettings } from "./settings/result.ts";
import { securitySettings } from "./settings/security.ts";
import { storeSettings } from "./settings/stores.ts";
import { taskSettings } from "./settings/task.ts";
import { workerSettings } from "./settings/worker.ts";

export const definitions = {
  ...appSettings,
  ...brokerSettings,
  ...taskSettings,
  ...workerSettings,
  ...resultSettings,
  ...redisSettings,
  ...beatSettings,
  ...monitoringSettings,
  ...securitySettings,
  ...storeSettings,
};

export type SettingKey = keyof typeof definitions;

/** What the program reads: complete, checked, frozen. Durations are seconds. */
export type Settings = { readonly [Key in SettingKey]: ValueOf<(typeof definitions)[Key]> };

/** What a user may write. Celery's snake case and its names from before version 4 are read as well. */
export type SettingsInput = { readonly [Key in SettingKey]?: InputOf<(typeof definitions)[Key]> | undefined };

export const settingKeys = Object.freeze(Object.keys(definitions)) as readonly SettingKey[];

/** All settings as they are when nothing is configured. */
export const defaultSettings: Settings = Object.freeze(
  Object.fromEntries(settingKeys.map((key) => [key, definitions[key].default])),
) as Settings;

export const definitionOf = (key: SettingKey): Setting => definitions[key] as Setting;

/** Whether a name is a setting in our own spelling. */
export const isSettingKey = (name: string): name is SettingKey => Object.hasOwn(definitions, name);

/** How names before Celery 4 began, by the group of today: the `__old__` of celery/app/defaults.py. */
const oldGroups: readonly (readonly [now: RegExp, before: string])[] = [
  [/^(accept_content|imports|include|timezone)$/, "celery_$1"],
  [/^beat_(.*)/, "celerybeat_$1"],
  [/^(cache|couchbase|arangodb|mongodb|event|redis|result|elasticsearch|security)_(.*)/, "celery_$1_$2"],
  [/^task_(.*)/, "celery_$1"],
  [/^worker_(.*)/, "celeryd_$1"],
];

/** The name a setting had before Celery 4, in capitals: `CELERY_IMPORTS`, `BROKER_URL`. Null for our own. */
export function oldNameOf(key: SettingKey): string | null {
  const { old, own } = definitionOf(key);
  if (own) return null;
  if (old !== null) return old;
  const snake = toSnakeCase(key);
  const group = snake === "result_accept_content" ? undefined : oldGroups.find(([now]) => now.test(snake));
  return (group ? snake.replace(group[0], group[1]) : snake).toUpperCase();
}

const keysByOldName: ReadonlyMap<string, SettingKey> = new Map(
  settingKeys.flatMap((key) => {
    const old = oldNameOf(key);
    return old === null ? [] : [[old, key] as const];
  }),
);

/** The setting a name means in any of its spellings, and whether the spelling is the old one. Null for none. */
export function settingNamed(name: string): { readonly key: SettingKey; readonly isOld: boolean } | null {
  const key = toCamelCase(name);
  if (isSettingKey(key)) return { key, isOld: false };
  const old = keysByOldName.get(name);
  return old === undefined ? null : { key: old, isOld: true };
}
