/**
 * Values of rich types as plain JSON, spelled as in test/python/values.py, so that a test states
 * once what travels and both halves make of it what is natural to them.
 */
export type Tagged = unknown;

export const bytes = (value: Buffer | string): Tagged => ({ $bytes: Buffer.from(value as string).toString("base64") });
export const datetime = (iso: string): Tagged => ({ $datetime: iso });
export const date = (iso: string): Tagged => ({ $date: iso });
export const time = (iso: string): Tagged => ({ $time: iso });
export const decimal = (text: string): Tagged => ({ $decimal: text });
export const uuid = (text: string): Tagged => ({ $uuid: text });
export const bigInteger = (digits: string): Tagged => ({ $int: digits });
export const float = (name: "nan" | "inf" | "-inf"): Tagged => ({ $float: name });
