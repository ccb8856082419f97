import { display } from "../config/censor.ts";
import { parseRate, rate } from "../config/parse.ts";
import { backendUrl } from "../config/policies.ts";
import type { Settings } from "../config/settings.ts";
import { ImproperlyConfigured } from "../errors.ts";
import { handlerNames } from "../task/handlers.ts";
import type { TaskOptions } from "../task/task.ts";
import type { TaskDefinition } from "./task-handle.ts";

const numeric = [
  "timeLimit",
  "softTimeLimit",
  "defaultRetryDelay",
  "retryBackoffMax",
  "resultReprMaxsize",
  "priority",
] as const satisfies readonly (keyof TaskOptions)[];

/** What a definition may hold beside options. */
const otherParts = new Set<string>([
  "name",
  "base",
  "args",
  "returns",
  "acksOnFailureOrTimeout",
  ...handlerNames,
] satisfies (keyof TaskDefinition)[]);

/** Fills in what a task's definition leaves to the settings, and checks what it says (inventory B.1). */
export function completeOptions(
  name: string,
  given: TaskDefinition,
  app: { readonly bind: boolean; readonly typing: boolean },
  settings: Settings,
): TaskOptions {
  const both = given.acksOnFailureOrTimeout;
  const bothByDefault = settings.taskAcksOnFailureOrTimeout;
  const options: TaskOptions = {
    bind: app.bind,
    queue: given.queue ?? null,
    exchange: given.exchange ?? null,
    exchangeType: given.exchangeType ?? null,
    routingKey: given.routingKey ?? null,
    deliveryMode: given.deliveryMode ?? null,
    priority: given.priority ?? null,
    serializer: given.serializer ?? settings.taskSerializer,
    compression: given.compression ?? settings.taskCompression,
    backend: given.backend ?? null,
    ignoreResult: given.ignoreResult ?? settings.taskIgnoreResult,
    storeErrorsEvenIfIgnored: given.storeErrorsEvenIfIgnored ?? settings.taskStoreErrorsEvenIfIgnored,
    trackStarted: given.trackStarted ?? settings.taskTrackStarted,
    rateLimit: given.rateLimit ?? settings.taskDefaultRateLimit,
    timeLimit: given.timeLimit ?? settings.taskTimeLimit,
    softTimeLimit: given.softTimeLimit ?? settings.taskSoftTimeLimit,
    expires: given.expires ?? null,
    maxRetries: given.maxRetries === undefined ? 3 : given.maxRetries,
    defaultRetryDelay: given.defaultRetryDelay ?? 180,
    autoretryFor: given.autoretryFor ?? [],
    dontAutoretryFor: given.dontAutoretryFor ?? [],
    retryKwargs: given.retryKwargs ?? {},
    retryBackoff: given.retryBackoff ?? false,
    retryBackoffMax: given.retryBackoffMax ?? 600,
    retryJitter: given.retryJitter ?? true,
    throws: given.throws ?? [],
    sendEvents: given.sendEvents ?? true,
    resultReprMaxsize: given.resultReprMaxsize ?? 1024,
    trail: given.trail ?? true,
    storeEagerResult: given.storeEagerResult ?? settings.taskStoreEagerResult,
    shadowName: given.shadowName ?? null,
    typing: given.typing ?? app.typing,
    params: given.params ?? null,
    acksLate: given.acksLate ?? settings.taskAcksLate,
    acksOnFailure: given.acksOnFailure ?? both ?? settings.taskAcksOnFailure ?? bothByDefault,
    acksOnTimeout: given.acksOnTimeout ?? both ?? settings.taskAcksOnTimeout ?? bothByDefault,
    rejectOnWorkerLost: given.rejectOnWorkerLost ?? settings.taskRejectOnWorkerLost ?? false,
  };
  const unknown = Object.keys(given).filter((key) => !(key in options) && !otherParts.has(key));
  if (unknown.length > 0) {
    throw new ImproperlyConfigured(
      `task ${name}: unknown option ${unknown.map((key) => `\`${key}\``).join(", ")}; options are ${Object.keys(options).join(", ")}`,
    );
  }
  for (const key of numeric) {
    const value = options[key];
    if (value === null || (typeof value === "number" && value >= 0)) continue;
    throw new ImproperlyConfigured(`task ${name}: ${key} must be a number, 0 or more, got: ${display(value)}`);
  }
  if (options.backend !== null && backendUrl.parse(options.backend) === undefined) {
    throw new ImproperlyConfigured(
      `task ${name}: backend must be ${backendUrl.expects}, got: ${display(options.backend)}`,
    );
  }
  if (parseRate(options.rateLimit) === undefined) {
    throw new ImproperlyConfigured(
      `task ${name}: rateLimit must be ${rate.expects}, got: ${display(options.rateLimit)}`,
    );
  }
  const { softTimeLimit, timeLimit, maxRetries } = options;
  if (softTimeLimit !== null && timeLimit !== null && softTimeLimit > timeLimit) {
    throw new ImproperlyConfigured(
      `task ${name}: softTimeLimit (${softTimeLimit}) must be less than or equal to timeLimit (${timeLimit})`,
    );
  }
  if (maxRetries !== null && !(Number.isInteger(maxRetries) && maxRetries >= 0)) {
    throw new ImproperlyConfigured(
      `task ${name}: maxRetries must be a whole number, or null to retry for ever, got: ${String(maxRetries)}`,
    );
  }
  return options;
}
