import type { DeadLetter } from "../broker/broker.ts";
import { crashesHeader, markOf, redrivenHeader } from "../broker/marks.ts";
import { ImproperlyConfigured } from "../errors.ts";
import { globToRegExp } from "../util/glob.ts";

/** A dead letter as it is printed: what was rejected, why, when, where, how often. */
export interface LetterView {
  readonly id: string;
  readonly at: string;
  readonly queue: string;
  readonly node: string;
  readonly reason: string;
  readonly task: string | null;
  readonly task_id: string | null;
  /** Bytes. */
  readonly size: number;
  readonly retries: number;
  /** Children that died of it before the last. */
  readonly crashes: number;
  /** How often it was put back into its queue before. */
  readonly redriven: number;
}

/** What of a letter can be asked for, and what must match. Pure. */
export type Where = readonly (readonly [key: keyof LetterView, pattern: RegExp])[];

const keys = ["id", "queue", "node", "reason", "task", "task_id"] as const;

export function viewOf(letter: DeadLetter): LetterView {
  const headers = letter.message?.headers ?? {};
  const text = (value: unknown): string | null => (typeof value === "string" ? value : null);
  return {
    id: letter.id,
    at: letter.at.toISOString(),
    queue: letter.queue,
    node: letter.node,
    reason: letter.reason,
    task: text(headers.task),
    task_id: text(headers.id),
    size: letter.size,
    retries: markOf(headers, "retries"),
    crashes: markOf(headers, crashesHeader),
    redriven: markOf(headers, redrivenHeader),
  };
}

/** `task=proj.*,queue=celery`: all of them must match; a pattern knows `*` and `?`. */
export function parseWhere(text: string): Where {
  return text.split(",").map((part) => {
    const at = part.indexOf("=");
    const key = keys.find((known) => known === part.slice(0, at).trim());
    if (key === undefined) {
      throw new ImproperlyConfigured(
        `--where must be KEY=PATTERN with one of ${keys.join(", ")}, such as task=proj.*, got: ${part}`,
      );
    }
    return [key, globToRegExp(part.slice(at + 1).trim())] as const;
  });
}

export const matches = (view: LetterView, where: Where): boolean =>
  where.every(([key, pattern]) => pattern.test(String(view[key] ?? "")));
