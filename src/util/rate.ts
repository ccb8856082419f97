const perSecond: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };

/**
 * Uses per second out of Celery's notation: `10/s`, `100/m`, `1/h`, or a number for so many per
 * second. Null for none: `null`, 0, or `""`. Throws `RangeError` for anything else.
 */
export function rateOf(rate: string | number | null): number | null {
  if (rate === null || rate === "" || rate === 0) return null;
  if (typeof rate === "number" && Number.isFinite(rate) && rate > 0) return rate;
  const match = /^\s*(\d+(?:\.\d+)?)\s*(?:\/\s*([smh])\s*)?$/.exec(String(rate));
  if (match === null) throw new RangeError(`a rate must be like 10/s, 100/m or 1/h, got: ${rate}`);
  const value = Number(match[1]) / (perSecond[match[2] ?? "s"] as number);
  return value === 0 ? null : value;
}
