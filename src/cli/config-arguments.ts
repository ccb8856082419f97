import { closestName, toSnakeCase } from "../config/names.ts";
import { type SettingKey, settingKeys, settingNamed } from "../config/settings.ts";
import { ImproperlyConfigured } from "../errors.ts";

/**
 * Reads settings written after the options (`tq worker -- worker.prefetch_multiplier=1`) as
 * Celery's cmdline_config_parser does: `group.key=value` or `group_key=value`, `.key=value` in
 * the group of the command, and `(type)value` for a value that is not meant as text. Values
 * become what their setting says. Throws `ImproperlyConfigured`.
 */
export function parseConfigArguments(words: readonly string[], group: string): Partial<Record<SettingKey, unknown>> {
  const settings: Partial<Record<SettingKey, unknown>> = {};
  for (const word of words) {
    const equals = word.indexOf("=");
    if (equals < 1) throw unreadable(`${JSON.stringify(word)} is not of the form key=value`);
    const name = word.slice(0, equals).replaceAll(".", "_");
    const full = name.startsWith("_") ? group + name : name;
    const named = settingNamed(full) ?? settingNamed(full.toLowerCase());
    if (!named) {
      const close = closestName(full.toLowerCase(), settingKeys.map(toSnakeCase));
      throw unreadable(`there is no setting ${full}${close === null ? "" : `; did you mean ${close}?`}`);
    }
    settings[named.key] = cast(word.slice(equals + 1), word);
  }
  return settings;
}

function cast(text: string, word: string): unknown {
  const [, type, value = ""] = /^\((\w+)\)(.*)$/s.exec(text) ?? [];
  switch (type) {
    case undefined:
    case "str":
    case "string":
    case "any":
      return type === undefined ? text : value;
    case "int":
    case "float": {
      const number = Number(value);
      if (value.trim() === "" || !Number.isFinite(number)) throw unreadable(`${value} in ${word} is no number`);
      return number;
    }
    case "bool":
      return /^(1|true|yes|on|y|t)$/i.test(value);
    case "json":
    case "list":
    case "tuple":
    case "dict":
      try {
        return JSON.parse(value);
      } catch (error) {
        throw unreadable(`${value} in ${word} is not JSON: ${(error as Error).message}`);
      }
    default:
      throw unreadable(`there is no type (${type}); those there are: str, int, float, bool, list, dict, json`);
  }
}

function unreadable(reason: string): ImproperlyConfigured {
  return new ImproperlyConfigured(`Unable to parse extra configuration from command line.\nReason: ${reason}`);
}
