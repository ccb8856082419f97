import { inspect } from "node:util";
import { pythonReprSymbol } from "../util/repr.ts";
import { DateTime, Decimal, PlainDate, PlainTime, Uuid } from "./values.ts";

/** The name of a class or function in a pickle. Nothing more: it cannot be called. */
export class PickledGlobal {
  readonly module: string;
  readonly name: string;

  constructor(module: string, name: string) {
    this.module = module;
    this.name = name;
  }

  get path(): string {
    return `${this.module}.${this.name}`;
  }

  [pythonReprSymbol](): string {
    return `<class '${this.path}'>`;
  }
}

/** An instance of a class that means nothing here: what the pickle says of it, inert. */
export class PickledObject {
  readonly type: PickledGlobal;
  args: readonly unknown[];
  state: unknown = null;
  /** Elements, when its class is a kind of list or set. */
  readonly items: unknown[] = [];
  /** Entries, when its class is a kind of dict. */
  readonly entries = new Map<unknown, unknown>();

  constructor(type: PickledGlobal, args: readonly unknown[]) {
    this.type = type;
    this.args = args;
  }

  [pythonReprSymbol](): string {
    return `<${this.type.path} object>`;
  }

  [inspect.custom](): string {
    return `PickledObject <${this.type.path}>`;
  }
}

/** Python 2 and protocol 0 to 2 call them so. */
const moduleNames: Readonly<Record<string, string>> = {
  __builtin__: "builtins",
  exceptions: "builtins",
  copy_reg: "copyreg",
};

export function globalNamed(module: string, name: string): PickledGlobal {
  return new PickledGlobal(Object.hasOwn(moduleNames, module) ? (moduleNames[module] as string) : module, name);
}

/** The value a call in a pickle stands for, when it is one of the few known here; else an inert object. */
export function callGlobal(callable: PickledGlobal, args: readonly unknown[]): unknown {
  const make = Object.hasOwn(makers, callable.path) ? makers[callable.path] : undefined;
  const made = make?.(args);
  if (made !== undefined) return made;
  if (isException(callable)) return { exc_type: callable.name, exc_message: args, exc_module: callable.module };
  return new PickledObject(callable, args);
}

/** The value an object stands for once its state is known. */
export function completeObject(object: PickledObject): unknown {
  if (object.type.path === "uuid.UUID" && object.state instanceof Map) {
    const value: unknown = object.state.get("int");
    if (typeof value === "bigint" || typeof value === "number")
      return new Uuid(BigInt(value).toString(16).padStart(32, "0"));
  }
  return object;
}

type Maker = (args: readonly unknown[]) => unknown;

/** Each returns undefined for arguments it does not understand. */
const makers: Readonly<Record<string, Maker>> = {
  "builtins.set": ([items]) => (items === undefined ? new Set() : Array.isArray(items) ? new Set(items) : undefined),
  "builtins.frozenset": ([items]) =>
    items === undefined ? new Set() : Array.isArray(items) ? new Set(items) : undefined,
  "builtins.bytes": ([bytes]) => bytesOf(bytes),
  "builtins.bytearray": ([bytes, encoding]) =>
    typeof bytes === "string" && encoding === "latin-1" ? Buffer.from(bytes, "latin1") : bytesOf(bytes),
  "builtins.list": ([items]) => (items === undefined ? [] : undefined),
  "builtins.dict": ([items]) => (items === undefined ? new Map() : undefined),
  "_codecs.encode": ([text, encoding]) =>
    typeof text === "string" && encoding === "latin1" ? Buffer.from(text, "latin1") : undefined,
  "collections.OrderedDict": ([pairs]) => mapOf(pairs),
  "collections.defaultdict": () => new Map(),
  "collections.Counter": ([counts]) => (counts instanceof Map ? counts : mapOf(counts)),
  // A signature is a dict with methods; the dict is what travels in every other format.
  "celery.canvas.signature": ([dict]) => (dict instanceof Map ? dict : undefined),
  "decimal.Decimal": ([text]) => (typeof text === "string" ? new Decimal(text) : undefined),
  "uuid.UUID": ([hex]) => (typeof hex === "string" ? new Uuid(hex) : undefined),
  "datetime.date": ([packed]) => (isPacked(packed, 4) ? new PlainDate(dateText(packed)) : undefined),
  "datetime.time": ([packed, zone]) => {
    const offset = zoneOffset(zone);
    return isPacked(packed, 6) && offset !== undefined ? new PlainTime(`${timeText(packed)}${offset}`) : undefined;
  },
  "datetime.datetime": ([packed, zone]) => {
    const offset = zoneOffset(zone);
    if (!isPacked(packed, 10) || offset === undefined) return undefined;
    return DateTime.fromIso(`${dateText(packed)}T${timeText(packed.subarray(4))}${offset}`);
  },
};

function bytesOf(value: unknown): Uint8Array | undefined {
  if (value === undefined) return Buffer.alloc(0);
  return value instanceof Uint8Array ? value : undefined;
}

function mapOf(pairs: unknown): ReadonlyMap<unknown, unknown> | undefined {
  if (pairs === undefined) return new Map();
  if (!Array.isArray(pairs) || !pairs.every((pair) => Array.isArray(pair) && pair.length === 2)) return undefined;
  return new Map(pairs as [unknown, unknown][]);
}

function isPacked(value: unknown, length: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length === length;
}

const digits = (value: number, length: number): string => String(value).padStart(length, "0");

function dateText(bytes: Uint8Array): string {
  const [high, low, month, day] = bytes as unknown as [number, number, number, number];
  return `${digits(high * 256 + low, 4)}-${digits(month & 0x7f, 2)}-${digits(day, 2)}`;
}

/** Hour (its highest bit is the fold), minute, second, three bytes of microseconds. */
function timeText(bytes: Uint8Array): string {
  const [hour, minute, second, a, b, c] = bytes as unknown as [number, number, number, number, number, number];
  const microsecond = a * 65_536 + b * 256 + c;
  const fraction = microsecond === 0 ? "" : `.${digits(microsecond, 6)}`;
  return `${digits(hour & 0x7f, 2)}:${digits(minute, 2)}:${digits(second, 2)}${fraction}`;
}

/** `+02:00` for a fixed zone, nothing for none, undefined for one that takes a table of zones. */
function zoneOffset(zone: unknown): string | undefined {
  if (zone === undefined || zone === null) return "";
  if (zone instanceof PickledGlobal) return zone.path === "datetime.timezone.utc" ? "+00:00" : undefined;
  if (!(zone instanceof PickledObject)) return undefined;
  if (zone.type.path === "pytz._UTC" || zone.type.path === "dateutil.tz.tz.tzutc") return "+00:00";
  const [delta] = zone.args;
  if (
    zone.type.path !== "datetime.timezone" ||
    !(delta instanceof PickledObject) ||
    delta.type.path !== "datetime.timedelta"
  )
    return undefined;
  const [days = 0, seconds = 0] = delta.args as readonly number[];
  const offset = days * 86_400 + seconds;
  const size = Math.abs(offset);
  const rest = size % 60 === 0 ? "" : `:${digits(size % 60, 2)}`;
  return `${offset < 0 ? "-" : "+"}${digits(Math.floor(size / 3600), 2)}:${digits(Math.floor(size / 60) % 60, 2)}${rest}`;
}

const exceptionModules: ReadonlySet<string> = new Set([
  "celery.exceptions",
  "billiard.exceptions",
  "kombu.exceptions",
  "billiard.einfo",
]);

function isException({ module, name }: PickledGlobal): boolean {
  if (exceptionModules.has(module)) return true;
  return module === "builtins" && /(?:Error|Exception|Warning|Iteration|Interrupt|Exit)$/.test(name);
}
