/** `task_*`: what tasks do when they do not say otherwise, and where they go. */
import { anything, bool, integer, name, nullable, oneOf, rate, seconds } from "../parse.ts";
import { defaultRetryPolicy, deliveryMode, exchangeType, retryPolicy } from "../policies.ts";
import { taskQueues } from "../queues.ts";
import { taskRoutes } from "../routes.ts";
import { notYet, setting } from "../setting.ts";

export const taskSettings = {
  taskAcksLate: setting(bool, false, "Acknowledge after a task has run; it must then bear running twice."),
  taskAcksOnFailureOrTimeout: setting(bool, true, "With late acks: acknowledge failures and time-outs too.", {
    old: "CELERY_ACKS_ON_FAILURE_OR_TIMEOUT",
  }),
  taskAcksOnFailure: setting(nullable(bool), null, "The same for failures; null means as taskAcksOnFailureOrTimeout."),
  taskAcksOnTimeout: setting(nullable(bool), null, "The same for time-outs; null means as taskAcksOnFailureOrTimeout."),
  taskAlwaysEager: setting(bool, false, "Run tasks here and now instead of sending them."),
  taskAnnotations: setting(nullable(anything), null, "Attributes to override, by task name or for all tasks."),
  taskCompression: setting(nullable(name), null, "Compression of task messages: gzip, bzip2, zstd …", {
    old: "CELERY_MESSAGE_COMPRESSION",
  }),
  taskCreateMissingQueues: setting(bool, true, "Make queues that taskQueues does not define when they are named."),
  taskCreateMissingQueueType: setting(oneOf("classic", "quorum"), "classic", "Type of the queues made on demand."),
  taskCreateMissingQueueExchangeType: setting(
    nullable(exchangeType),
    null,
    "Exchange type of the queues made on demand; null means direct.",
  ),
  taskInheritParentPriority: setting(bool, false, "Tasks sent by a task get its priority."),
  taskDefaultDeliveryMode: setting(deliveryMode, 2, "2 keeps messages over a restart of RabbitMQ, 1 does not."),
  taskDefaultQueue: setting(name, "celery", "Queue of tasks that are not routed."),
  taskDefaultQueueType: setting(oneOf("classic", "quorum"), "classic", "Type of that queue on RabbitMQ."),
  taskDefaultExchange: setting(nullable(name), null, "Exchange of queues that name none; null: named as the queue."),
  taskDefaultExchangeType: setting(exchangeType, "direct", "Type of that exchange: direct, topic or fanout."),
  taskDefaultRoutingKey: setting(nullable(name), null, "Routing key of the default queue; null: its name."),
  taskDefaultRateLimit: setting(nullable(rate), null, "Most runs of one task type per worker: 10/s, 100/m, 5/h."),
  taskDefaultPriority: setting(
    nullable(integer(0, 255)),
    null,
    "Priority of task messages; the meaning is the broker's.",
  ),
  taskEagerPropagates: setting(bool, false, "Errors of eager tasks are thrown to the caller.", {
    old: "CELERY_EAGER_PROPAGATES_EXCEPTIONS",
  }),
  taskIgnoreResult: setting(bool, false, "Do not store results."),
  taskStoreEagerResult: setting(bool, false, "Store results of eager tasks too."),
  taskProtocol: notYet(oneOfNumbers(1, 2), 2, "Version of task messages sent.", { old: "CELERY_TASK_PROTOCOL" }),
  taskPublishRetry: setting(bool, true, "Try again when a message cannot be published.", {
    old: "CELERY_TASK_PUBLISH_RETRY",
  }),
  taskPublishRetryPolicy: setting(retryPolicy, defaultRetryPolicy, "How often, and how long apart (seconds).", {
    old: "CELERY_TASK_PUBLISH_RETRY_POLICY",
  }),
  taskQueues: setting(nullable(taskQueues), null, "The queues there are; null means just the default queue."),
  taskQueueMaxPriority: setting(nullable(integer(0, 255)), null, "x-max-priority of queues that do not say."),
  taskRejectOnWorkerLost: setting(nullable(bool), null, "With late acks: requeue when the child running a task dies."),
  taskRemoteTracebacks: notYet(bool, false, "Python's pickled tracebacks in results."),
  taskRoutes: setting(nullable(taskRoutes), null, "Which task goes where: names, globs, expressions, functions."),
  taskSendSentEvent: setting(bool, false, "Send a task-sent event with each message.", {
    old: "CELERY_SEND_TASK_SENT_EVENT",
  }),
  taskSerializer: setting(name, "json", "Serializer of task messages.", { old: "CELERY_TASK_SERIALIZER" }),
  taskSoftTimeLimit: setting(nullable(seconds), null, "Seconds after which a task is asked to stop.", {
    old: "CELERYD_TASK_SOFT_TIME_LIMIT",
  }),
  taskTimeLimit: setting(nullable(seconds), null, "Seconds after which the child running a task is killed.", {
    old: "CELERYD_TASK_TIME_LIMIT",
  }),
  taskStoreErrorsEvenIfIgnored: setting(bool, false, "Store failures of tasks whose results are ignored."),
  taskTrackStarted: setting(bool, false, "Record STARTED when a task begins."),
  taskAllowErrorCbOnChordHeader: setting(bool, false, "A chord's link_error also goes to its header's tasks."),
};

function oneOfNumbers<const Choice extends number>(...choices: readonly Choice[]) {
  return {
    expects: choices.join(" or "),
    parse: (given: unknown): Choice | undefined => choices.find((choice) => choice === Number(given)),
  };
}
