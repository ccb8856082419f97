import { censor, display } from "./censor.ts";
import { type SnakeCase, toSnakeCase } from "./names.ts";
import { isRecord } from "./parse.ts";
import type { RetryPolicy } from "./policies.ts";
import type { TaskQueues } from "./queues.ts";
import { type RawSettings, type Resolution, resolve, withOwnNames } from "./resolve.ts";
import type { TaskRoutes } from "./routes.ts";
import { defaultSettings, type SettingKey, type Settings, settingKeys, settingNamed } from "./settings.ts";
import { attributesOf, withinNamespace } from "./source.ts";
import type { TlsOptions } from "./tls.ts";

export interface ConfTableOptions {
  /** Also what nobody has set. Default false. */
  readonly withDefaults?: boolean;
  /** Replace secrets by `********` and passwords in URLs by `**`. Default true. */
  readonly censored?: boolean;
}

/** What `app.conf` can do beside being read and written like an object. */
export interface ConfControls {
  /**
   * All settings, checked and frozen: what the rest of the program reads. The same object until
   * something changes. Throws `ImproperlyConfigured` when a value is wrong.
   */
  readonly settings: Settings;
  /** The same with what there is to say about them: unknown names, settings without effect yet. */
  readonly resolution: Resolution;
  /** Sets many at once; stronger than any config source, weaker than the command line. */
  update(changes: RawSettings): void;
  /** Adds values weaker than any others; a function is asked when they are needed first. */
  addDefaults(defaults: RawSettings | (() => RawSettings)): void;
  /**
   * Takes the configuration from a module, a class or an object, or from a function that gives
   * one when it is needed; forgets what `update` and assignments had set before. With a
   * `namespace`, only names that begin with it count: `CELERY` takes `CELERY_BROKER_URL`.
   */
  configFromObject(source: object | (() => object), options?: { readonly namespace?: string | null }): void;
  /** The command line's word, stronger than all else. */
  setFlags(flags: RawSettings): void;
  /** One value by name in any spelling, names that are no setting included. */
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  /** Whether anybody has set it, be it to its default. */
  isSet(name: string): boolean;
  /** The configuration by Celery's names, as written. */
  table(options?: ConfTableOptions): Record<string, unknown>;
  /** The same as text, a line for each. */
  humanize(options?: ConfTableOptions): string;
}

/** Settings that are written in more forms than they are read. */
interface WideProperties {
  get taskRoutes(): Settings["taskRoutes"];
  set taskRoutes(routes: TaskRoutes | null);
  get taskQueues(): Settings["taskQueues"];
  set taskQueues(queues: TaskQueues | null);
  get taskPublishRetryPolicy(): RetryPolicy;
  set taskPublishRetryPolicy(policy: Partial<RetryPolicy>);
  get brokerUseSsl(): TlsOptions | false | null;
  set brokerUseSsl(options: boolean | Readonly<Record<string, unknown>> | null);
  get redisBackendUseSsl(): TlsOptions | false | null;
  set redisBackendUseSsl(options: boolean | Readonly<Record<string, unknown>> | null);
}

type NarrowKey = Exclude<SettingKey, keyof WideProperties>;

/** The settings as properties that can be set, in both spellings. */
export type ConfProperties = WideProperties & { -readonly [Key in NarrowKey]: Settings[Key] } & {
  -readonly [Key in NarrowKey as SnakeCase<Key>]: Settings[Key];
} & { [Key in keyof WideProperties as SnakeCase<Key>]: unknown };

/**
 * The configuration of an app: `conf.taskDefaultQueue`, `conf["task_default_queue"]`,
 * `conf.update({…})`. Nothing is read or checked before the first look; later changes count too.
 */
export type Conf = ConfControls & ConfProperties;

export interface ConfOptions {
  /** What the app's constructor was given. */
  readonly initial?: RawSettings;
  /** What the environment says; see `settingsFromEnvironment`. */
  readonly environment?: RawSettings;
}

/** Makes the configuration of an app. */
export function createConf(options: ConfOptions = {}): Conf {
  return new Proxy(new ConfLayers(options), propertiesByName) as unknown as Conf;
}

class ConfLayers implements ConfControls {
  readonly #initial: RawSettings;
  readonly #environment: RawSettings;
  #defaults: (RawSettings | (() => RawSettings))[] = [];
  #source: () => RawSettings = () => ({});
  #changes: Record<string, unknown> = {};
  #flags: RawSettings = {};
  #resolution: Resolution | null = null;

  constructor(options: ConfOptions) {
    this.#initial = withOwnNames(options.initial ?? {}, "the app");
    this.#environment = options.environment ?? {};
  }

  get resolution(): Resolution {
    this.#resolution ??= resolve({
      defaults: Object.assign({}, ...this.#defaults.map(readDefaults)) as RawSettings,
      source: this.#source(),
      environment: this.#environment,
      runtime: { ...this.#initial, ...this.#changes },
      flags: this.#flags,
    });
    return this.#resolution;
  }

  get settings(): Settings {
    return this.resolution.settings;
  }

  update(changes: RawSettings): void {
    this.#changes = { ...this.#changes, ...withOwnNames(changes, "conf.update()") };
    this.#resolution = null;
  }

  addDefaults(defaults: RawSettings | (() => RawSettings)): void {
    this.#defaults.push(defaults);
    this.#resolution = null;
  }

  configFromObject(source: object | (() => object), options: { readonly namespace?: string | null } = {}): void {
    const { namespace = null } = options;
    this.#source = once(() => {
      const attributes = attributesOf(isLazy(source) ? source() : source);
      return namespace ? withinNamespace(attributes, namespace) : attributes;
    });
    this.#changes = {};
    this.#resolution = null;
  }

  setFlags(flags: RawSettings): void {
    this.#flags = withOwnNames(flags, "the command line");
    this.#resolution = null;
  }

  get(name: string): unknown {
    const key = settingNamed(name)?.key;
    if (key !== undefined) return this.settings[key];
    return this.resolution.unknown[name];
  }

  set(name: string, value: unknown): void {
    this.update({ [name]: value });
  }

  isSet(name: string): boolean {
    const key = settingNamed(name)?.key;
    return key === undefined ? name in this.resolution.unknown : this.resolution.given.has(key);
  }

  table(options: ConfTableOptions = {}): Record<string, unknown> {
    const { withDefaults = false, censored = true } = options;
    const { given, unknown } = this.resolution;
    const shown = withDefaults ? settingKeys : settingKeys.filter((key) => given.has(key));
    const rows: [string, unknown][] = [
      ...shown.map((key): [string, unknown] => [
        toSnakeCase(key),
        given.has(key) ? given.get(key) : defaultSettings[key],
      ]),
      ...Object.entries(unknown).filter(([name]) => !name.startsWith("_")),
    ];
    return Object.fromEntries(rows.map(([name, value]) => [name, censored ? censor(name, value) : value]));
  }

  humanize(options: ConfTableOptions = {}): string {
    return Object.entries(this.table(options))
      .map(([name, value]) => `${name}: ${display(value)}`)
      .join("\n");
  }
}

/** A class is a source itself, a function makes one. */
const isLazy = (source: object | (() => object)): source is () => object =>
  typeof source === "function" && !/^class\b/.test(Function.prototype.toString.call(source));

function readDefaults(defaults: RawSettings | (() => RawSettings)): Record<string, unknown> {
  const given = typeof defaults === "function" ? defaults() : defaults;
  return isRecord(given) ? withOwnNames(given, "the app's defaults") : {};
}

function once<Value>(make: () => Value): () => Value {
  let made: { readonly value: Value } | null = null;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** Reads and writes of any property that is not one of the controls go to the setting of that name. */
const propertiesByName: ProxyHandler<ConfLayers> = {
  get(layers, name) {
    if (typeof name === "symbol") return Reflect.get(layers, name, layers) as unknown;
    if (!(name in layers)) return layers.get(name);
    const control: unknown = Reflect.get(layers, name, layers);
    return typeof control === "function" ? (control.bind(layers) as unknown) : control;
  },
  set(layers, name, value) {
    if (typeof name === "symbol" || name in layers) return false;
    layers.set(name, value);
    return true;
  },
  has: (layers, name) =>
    name in layers || (typeof name === "string" && (settingNamed(name) !== null || layers.isSet(name))),
  ownKeys: () => [...settingKeys],
  getOwnPropertyDescriptor: (layers, name) =>
    typeof name === "string" && (settingNamed(name) !== null || layers.isSet(name))
      ? { value: layers.get(name), writable: true, enumerable: true, configurable: true }
      : undefined,
};
