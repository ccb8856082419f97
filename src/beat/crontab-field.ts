import { ImproperlyConfigured } from "../errors.ts";

/** What one field of a crontab may be: a number, a pattern, or the numbers themselves. */
export type CrontabField = number | string | Iterable<number>;

/** Names and bounds of a field. */
export interface FieldRule {
  readonly name: string;
  readonly least: number;
  readonly most: number;
}

const days = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/**
 * The numbers a field stands for, ascending. Celery's grammar (celery.schedules.crontab_parser): numbers, names
 * of days and months by their first three letters, a star for all, ranges that may wrap (`fri-mon`), a step after a
 * slash (`8-17/2`: every second of the range, counted from its beginning), lists with commas. Throws
 * `ImproperlyConfigured`.
 */
export function expandField(field: CrontabField, rule: FieldRule): readonly number[] {
  const numbers =
    typeof field === "number" ? [field] : typeof field === "string" ? parse(field, rule) : numbersOf(field, rule);
  for (const number of numbers) {
    if (!Number.isInteger(number) || number < rule.least || number > rule.most) {
      throw new ImproperlyConfigured(
        `Invalid crontab pattern for ${rule.name}. Valid range is ${rule.least}-${rule.most}. '${number}' was found.`,
      );
    }
  }
  if (numbers.length === 0) throw invalid(rule, field, "it stands for no number at all");
  return [...new Set(numbers)].sort((a, b) => a - b);
}

function numbersOf(field: unknown, rule: FieldRule): number[] {
  if (typeof field === "object" && field !== null && Symbol.iterator in field) return [...(field as Iterable<number>)];
  throw new ImproperlyConfigured(
    `Argument ${rule.name} of crontab needs to be a number, a text or a list of numbers, got: ${String(field)}`,
  );
}

function parse(text: string, rule: FieldRule): number[] {
  return text.split(",").flatMap((part) => parsePart(part.trim(), text, rule));
}

function parsePart(part: string, whole: string, rule: FieldRule): number[] {
  if (part === "") throw invalid(rule, whole, "empty part");
  if (part.startsWith("-")) throw invalid(rule, whole, "negative numbers not supported");
  const match = /^(?:(\*)|(\w+?)(?:-(\w+))?)(\/(\w*))?$/.exec(part);
  if (!match) throw invalid(rule, whole, `${JSON.stringify(part)} is not a number, a range or *`);
  const [, star, from, to, slash, step] = match;
  const range = star ? spread(rule.least, rule.most) : between(numberOf(from as string, rule), to, rule);
  if (slash === undefined) return range;
  if (!star && to === undefined) throw invalid(rule, whole, "a step needs a range or * before it");
  if (!step) throw invalid(rule, whole, "empty filter");
  const every = Number(step);
  if (!Number.isInteger(every) || every < 1)
    throw invalid(rule, whole, `the step ${JSON.stringify(step)} is not a number above 0`);
  return range.filter((_number, index) => index % every === 0);
}

function between(from: number, end: string | undefined, rule: FieldRule): number[] {
  if (end === undefined) return [from];
  const to = numberOf(end, rule);
  return to < from ? [...spread(from, rule.most), ...spread(rule.least, to)] : spread(from, to);
}

const spread = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

function numberOf(text: string, rule: FieldRule): number {
  const number = /^\d+$/.test(text) ? Number(text) : nameOf(text);
  if (number === undefined)
    throw new ImproperlyConfigured(`Invalid weekday literal '${text}' in crontab ${rule.name}.`);
  if (number > rule.most)
    throw new ImproperlyConfigured(`Invalid end range in crontab ${rule.name}: ${number} > ${rule.most}.`);
  if (number < rule.least)
    throw new ImproperlyConfigured(`Invalid beginning range in crontab ${rule.name}: ${number} < ${rule.least}.`);
  return number;
}

function nameOf(text: string): number | undefined {
  const key = text.slice(0, 3).toLowerCase();
  if (months.includes(key)) return months.indexOf(key) + 1;
  return days.includes(key) ? days.indexOf(key) : undefined;
}

function invalid(rule: FieldRule, field: unknown, reason: string): ImproperlyConfigured {
  return new ImproperlyConfigured(`crontab ${rule.name} ${JSON.stringify(field)}: ${reason}`);
}
