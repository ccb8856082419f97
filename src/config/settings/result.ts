/** `result_*`: where results are kept, and for how long. */
import { bool, dict, integer, name, nullable, number, options, seconds } from "../parse.ts";
import { backendUrl } from "../policies.ts";
import { notYet, setting } from "../setting.ts";

const day = 86_400;

export const resultSettings = {
  resultBackend: setting(
    nullable(backendUrl),
    null,
    "URL of the result store; null: the embedded store when it is the broker, else none.",
  ),
  resultCacheMax: notYet(nullable(integer(-1)), -1, "Results a client remembers; -1 none, 0 and null all.", {
    old: "CELERY_MAX_CACHED_RESULTS",
  }),
  resultCompression: setting(nullable(name), null, "Compression of stored results: changes nothing, as in Celery.", {
    inert:
      "no result store of Celery's reads it, and none could read a compressed result; " +
      "name a serializer of your own that compresses in resultSerializer and resultAcceptContent instead",
  }),
  resultExchange: notYet(name, "celeryresults", "Exchange of the old amqp result store."),
  resultExchangeType: notYet(name, "direct", "Type of that exchange."),
  resultExpires: setting(nullable(seconds), day, "Seconds results are kept; null and 0 mean for ever.", {
    old: "CELERY_TASK_RESULT_EXPIRES",
  }),
  resultPersistent: setting(nullable(bool), null, "Results sent as messages survive a restart of the broker."),
  resultExtended: setting(bool, false, "Store name, arguments, worker, retries and queue with the result."),
  resultSerializer: setting(name, "json", "Serializer of results."),
  resultBackendTransportOptions: setting(options, {}, "Options of the store: global_keyprefix, master_name …"),
  resultChordRetryInterval: setting(seconds, 1, "Seconds between looks at a chord a store cannot count."),
  resultChordJoinTimeout: setting(seconds, 3, "Seconds to wait for results of a chord's header that were not counted."),
  resultBackendMaxSleepBetweenRetriesMs: notYet(integer(0), 10_000, "Most milliseconds between retries."),
  resultBackendMaxRetries: notYet(number(0), Number.POSITIVE_INFINITY, "Retries before giving up."),
  resultBackendBaseSleepBetweenRetriesMs: notYet(integer(0), 10, "First milliseconds between retries."),
  resultBackendAlwaysRetry: notYet(bool, false, "Retry when the result store fails."),
  resultBackendThreadSafe: notYet(bool, false, "Share one result store between threads."),
  overrideBackends: notYet(dict, {}, "Further result stores by alias."),
};
