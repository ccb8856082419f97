/** Settings that are small records of their own: URLs and the policy of publishing. */
import { ImproperlyConfigured } from "../errors.ts";
import { toCamelCase } from "./names.ts";
import { isRecord, numberOf, oneOf } from "./parse.ts";
import type { Rule } from "./setting.ts";
import { parseBackendUrl, parseBrokerUrl, splitUrls } from "./url.ts";

/** Orders the URLs of several brokers for one round of tries; those it leaves out are not tried. */
export type FailoverOrder = (urls: readonly string[]) => Iterable<string>;

const strategies = oneOf("round-robin", "shuffle");

/** The name of a strategy, or a function (inventory H23). */
export const failoverStrategy: Rule<"round-robin" | "shuffle" | FailoverOrder> = {
  expects: `${strategies.expects}, or a function of the URLs`,
  parse: (given) => (typeof given === "function" ? (given as FailoverOrder) : strategies.parse(given)),
};

/** How often and how long apart a publish is tried again. Durations in seconds. */
export interface RetryPolicy {
  /** Null tries for ever. */
  readonly maxRetries: number | null;
  readonly intervalStart: number;
  readonly intervalStep: number;
  readonly intervalMax: number;
}

/** Celery's defaults of `task_publish_retry_policy`. */
export const defaultRetryPolicy: RetryPolicy = Object.freeze({
  maxRetries: 3,
  intervalStart: 0,
  intervalMax: 1,
  intervalStep: 0.2,
});

/** A retry policy; what it leaves out follows Celery's defaults. */
export const retryPolicy: Rule<RetryPolicy, Partial<RetryPolicy>> = {
  expects: "an object of maxRetries, intervalStart, intervalStep and intervalMax (seconds, 0 or more)",
  example: { maxRetries: 3, intervalStart: 0, intervalStep: 0.2, intervalMax: 1 },
  parse: (given) => {
    if (!isRecord(given)) return undefined;
    const policy: Record<string, number | null> = { ...defaultRetryPolicy };
    for (const [spelled, value] of Object.entries(given)) {
      const key = toCamelCase(spelled);
      if (value === undefined || !Object.hasOwn(defaultRetryPolicy, key)) continue;
      const amount = key === "maxRetries" && value === null ? null : numberOf(value);
      if (amount === undefined || (amount !== null && amount < 0)) return undefined;
      policy[key] = amount;
    }
    return Object.freeze(policy) as unknown as RetryPolicy;
  },
};

/** One broker URL or several for failover, in an array or with `;` between; each is checked. */
export const brokerUrls: Rule<string | readonly string[], string | readonly string[]> = {
  expects: "a URL such as redis://localhost:6379/0, or a list of URLs",
  example: "redis://localhost:6379/0",
  parse: (given) => {
    if (typeof given !== "string" && !(Array.isArray(given) && given.every((item) => typeof item === "string"))) {
      return undefined;
    }
    const urls = splitUrls(given as string | string[]);
    if (urls.length === 0) return undefined;
    for (const url of urls) parseBrokerUrl(url);
    return typeof given === "string" ? given : Object.freeze([...(given as string[])]);
  },
};

/** The URL of a result store. */
export const backendUrl: Rule<string> = {
  expects: "a URL such as redis://localhost:6379/1",
  example: "redis://localhost:6379/1",
  parse: (given) => {
    if (typeof given !== "string" || given.trim() === "") return undefined;
    parseBackendUrl(given);
    return given;
  },
};

/** 1 or 2, or AMQP's words for them. */
export const deliveryMode: Rule<1 | 2, 1 | 2 | "transient" | "persistent"> = {
  expects: "2 (persistent) or 1 (transient)",
  example: 2,
  parse: (given) =>
    given === "persistent" || Number(given) === 2 ? 2 : given === "transient" || Number(given) === 1 ? 1 : undefined,
};

const levels = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL"] as const;

/** A level of Python's logging, by name. */
export const logLevel: Rule<(typeof levels)[number], string> = {
  expects: `one of ${levels.join(", ")}`,
  example: "WARNING",
  parse: (given) => levels.find((level) => typeof given === "string" && level === given.toUpperCase()),
};

/** An exchange type a broker of ours can serve. */
export const exchangeType: Rule<"direct" | "topic" | "fanout"> = {
  expects: "direct, topic or fanout",
  example: "direct",
  parse: (given) => {
    if (given === "headers") {
      throw new ImproperlyConfigured("headers exchanges are not supported: use direct, topic or fanout");
    }
    return given === "direct" || given === "topic" || given === "fanout" ? given : undefined;
  },
};
