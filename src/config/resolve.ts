/** Layers of configuration become one set of settings: merged, checked, frozen. */
import { ImproperlyConfigured } from "../errors.ts";
import { version } from "../version.ts";
import { censor, display } from "./censor.ts";
import { closestName, toSnakeCase } from "./names.ts";
import {
  defaultSettings,
  definitionOf,
  oldNameOf,
  type SettingKey,
  type Settings,
  type SettingsInput,
  settingKeys,
  settingNamed,
} from "./settings.ts";

/** Configuration as users write it, in any spelling, with names nobody knows among it. */
export type RawSettings = SettingsInput | Readonly<Record<string, unknown>>;

/** Where settings come from, weakest first; what is not there says nothing. */
export interface SettingsLayers {
  /** `app.conf.addDefaults()`. */
  readonly defaults?: RawSettings;
  /** The module or object given to `configFromObject()`, or the configuration file. */
  readonly source?: RawSettings;
  /** What the program says: the constructor, assignments, `conf.update()`. */
  readonly runtime?: RawSettings;
  /** See `settingsFromEnvironment`. It wins over the program, as in Celery: an operator moves an app without editing it. */
  readonly environment?: RawSettings;
  /** The command line. */
  readonly flags?: RawSettings;
}

/** The layers, weakest first, and what they are called when one of them is wrong. */
const layerNames: readonly (readonly [layer: keyof SettingsLayers, name: string])[] = [
  ["defaults", "the app's defaults"],
  ["source", "the config source"],
  ["runtime", "the app"],
  ["environment", "the environment"],
  ["flags", "the command line"],
];

export interface Resolution {
  readonly settings: Settings;
  /** The settings some layer has set, with the value as it was written. */
  readonly given: ReadonlyMap<SettingKey, unknown>;
  /** What is no setting, under the name it was given: kept for whoever reads it. */
  readonly unknown: Readonly<Record<string, unknown>>;
  /** A line for each unknown name, with what may have been meant. */
  readonly warnings: readonly string[];
  /** A line for each setting that was changed and has no effect in this version. */
  readonly notices: readonly string[];
}

interface Given {
  readonly key: SettingKey;
  readonly spelled: string;
  readonly value: unknown;
  readonly from: string;
}

/**
 * Merges the layers, checks every value and freezes the result. Throws `ImproperlyConfigured`
 * naming each key that is wrong, its rule, its value and a way out, and when one layer mixes
 * names of today with those from before Celery 4.
 */
export function resolve(layers: SettingsLayers): Resolution {
  const given = new Map<SettingKey, Given>();
  const unknown: Record<string, unknown> = Object.create(null);
  for (const [layer, from] of layerNames) {
    const read = readLayer(layers[layer] ?? {}, from);
    for (const one of read.known) given.set(one.key, one);
    for (const [name, value] of read.unknown) unknown[name] = value;
  }
  const settings: Record<string, unknown> = { ...defaultSettings };
  const wrong: string[] = [];
  for (const one of given.values()) {
    try {
      settings[one.key] = parse(one);
    } catch (error) {
      if (!(error instanceof ImproperlyConfigured)) throw error;
      wrong.push(error.message);
    }
  }
  if (wrong.length > 0) {
    throw new ImproperlyConfigured(
      wrong.length === 1
        ? (wrong[0] as string)
        : `${wrong.length} settings cannot be used:\n${wrong.map((line) => `  ${line}`).join("\n")}`,
    );
  }
  return Object.freeze({
    settings: Object.freeze(settings) as Settings,
    given: new Map([...given.values()].map(({ key, value }) => [key, value])),
    unknown: Object.freeze(unknown),
    warnings: warningsOf(unknown),
    notices: noticesOf(given.values(), settings as Settings),
  });
}

/** `resolve`, for those who want the settings alone. */
export const resolveSettings = (layers: SettingsLayers): Settings => resolve(layers).settings;

/**
 * The same settings under our own names, with what is no setting left as it is. Throws
 * `ImproperlyConfigured` when names of today are mixed with those from before Celery 4.
 */
export function withOwnNames(raw: RawSettings, from: string): Record<string, unknown> {
  const { known, unknown } = readLayer(raw, from);
  return Object.fromEntries([...unknown, ...known.map(({ key, value }) => [key, value] as const)]);
}

/** Sorts the names of one layer; of two spellings of one setting the newer, then the later one counts. */
function readLayer(
  layer: RawSettings,
  from: string,
): { readonly known: readonly Given[]; readonly unknown: readonly (readonly [string, unknown])[] } {
  const known = new Map<SettingKey, Given & { readonly isOld: boolean }>();
  const unknown: [string, unknown][] = [];
  const spelledNew = new Set<SettingKey>();
  const spelledOld = new Set<SettingKey>();
  for (const [spelled, value] of Object.entries(layer)) {
    if (value === undefined) continue;
    const named = settingNamed(spelled);
    if (named === null) {
      unknown.push([spelled, value]);
      continue;
    }
    const { key, isOld } = named;
    (isOld ? spelledOld : spelledNew).add(key);
    if (!isOld || !spelledNew.has(key)) known.set(key, { key, spelled, value, from, isOld });
  }
  refuseMixture(spelledNew, spelledOld, from);
  return { known: [...known.values()], unknown };
}

/** Celery's rule: the names in the minority are to be renamed, except those that stand there both ways. */
function refuseMixture(spelledNew: ReadonlySet<SettingKey>, spelledOld: ReadonlySet<SettingKey>, from: string): void {
  const onlyOld = [...spelledOld].filter((key) => !spelledNew.has(key));
  const onlyNew = [...spelledNew].filter((key) => !spelledOld.has(key) && oldNameOf(key) !== null);
  const keepOld = spelledOld.size > spelledNew.size;
  const left = keepOld ? onlyNew : onlyOld;
  if (spelledNew.size === 0 || spelledOld.size === 0 || left.length === 0) return;
  const renames = left
    .map((key) =>
      keepOld ? [toSnakeCase(key), oldNameOf(key) as string] : [oldNameOf(key) as string, toSnakeCase(key)],
    )
    .map(([now, wanted]) => `  ${(now as string).padEnd(36)} -> ${wanted}`)
    .sort();
  throw new ImproperlyConfigured(
    keepOld
      ? `Cannot mix new setting names with old setting names in ${from}, please rename the following settings to use ` +
          `the old format:\n\n${renames.join("\n")}\n\nOr change all of the settings to use the new format :)`
      : `Cannot mix new and old setting keys in ${from}, please rename the following settings to the new format:\n\n${renames.join("\n")}`,
  );
}

function parse({ key, spelled, value, from }: Given): unknown {
  const { rule, default: fallback } = definitionOf(key);
  const name = spelled === key ? key : `${key} (${spelled})`;
  let parsed: unknown;
  try {
    parsed = rule.parse(value);
  } catch (error) {
    if (!(error instanceof ImproperlyConfigured)) throw error;
    throw new ImproperlyConfigured(`${name} from ${from}: ${error.message}`, { cause: error });
  }
  if (parsed !== undefined) return parsed;
  const shown = shorten(display(censor(toSnakeCase(key), value)));
  const example = rule.example === undefined ? "" : `set it to something like ${display(rule.example)}, or `;
  throw new ImproperlyConfigured(
    `${name} must be ${rule.expects}, got ${shown} from ${from}: ` +
      `${example}leave it out for the default, ${shorten(display(fallback))}`,
  );
}

const shorten = (text: string): string => (text.length > 120 ? `${text.slice(0, 117)}...` : text);

/** A config module may hold constants of its own, by custom in capitals: they are nobody's mistake. */
const isForeign = (name: string): boolean =>
  /^[A-Z][A-Z0-9_]*$/.test(name) && !/^(TQ|CELERY|CELERYD|CELERYBEAT|BROKER)_/.test(name);

function warningsOf(unknown: Readonly<Record<string, unknown>>): string[] {
  const known = settingKeys.flatMap((key) => [key, ...(oldNameOf(key) === null ? [] : [oldNameOf(key) as string])]);
  return Object.entries(unknown).flatMap(([name, value]) => {
    if (typeof value === "function") return [];
    const meant = closestName(name, known);
    if (meant === null && isForeign(name)) return [];
    const hint = meant === null ? "tq does not read it" : `did you mean ${spelledLike(name, meant)}?`;
    return [`unknown setting ${JSON.stringify(name)}: ${hint}`];
  });
}

const spelledLike = (name: string, meant: string): string =>
  name.includes("_") && name === name.toLowerCase() ? toSnakeCase(meant) : meant;

function noticesOf(given: Iterable<Given>, settings: Settings): string[] {
  const notices: string[] = [];
  for (const { key, spelled } of given) {
    const { honoured, inert, default: fallback, doc } = definitionOf(key);
    if (honoured || isSame(settings[key], fallback)) continue;
    if (inert !== null) notices.push(`${spelled} changes nothing: ${inert}`);
    else notices.push(`${spelled} is not honoured yet by tq ${version}: it is kept and changes nothing (${doc})`);
  }
  return notices;
}

const isSame = (one: unknown, other: unknown): boolean => Object.is(one, other) || display(one) === display(other);

/** The variables that count, strongest first: tq's own, then Celery's. */
const variables: readonly (readonly [key: SettingKey, ...names: readonly string[]])[] = [
  ["brokerUrl", "TQ_BROKER_URL", "CELERY_BROKER_URL"],
  ["brokerReadUrl", "TQ_BROKER_READ_URL", "CELERY_BROKER_READ_URL"],
  ["brokerWriteUrl", "TQ_BROKER_WRITE_URL", "CELERY_BROKER_WRITE_URL"],
  ["resultBackend", "TQ_RESULT_BACKEND", "CELERY_RESULT_BACKEND"],
];

/** The settings environment variables make (inventory A54); empty variables say nothing. */
export function settingsFromEnvironment(environment: Readonly<Record<string, string | undefined>>): SettingsInput {
  return Object.fromEntries(
    variables.flatMap(([key, ...names]) => {
      const name = names.find((variable) => environment[variable]);
      return name === undefined ? [] : [[key, environment[name]]];
    }),
  );
}
