/** `worker_*`: the daemon that runs tasks. */
import { bool, bytes, integer, kibibytes, name, nullable, number, oneOf, seconds, text } from "../parse.ts";
import { logLevel } from "../policies.ts";
import { notYet, setting } from "../setting.ts";
import { daemonSettings } from "./daemon.ts";

/** Not of Celery. */
const own = { own: true } as const;

export const workerSettings = {
  workerAgent: notYet(nullable(name), null, "Class of an agent started with the worker."),
  workerAutoscaler: setting(
    name,
    "celery.worker.autoscale:Autoscaler",
    "Module whose function decides how wide an autoscaled pool is.",
  ),
  workerCancelLongRunningTasksOnConnectionLoss: setting(
    bool,
    false,
    "Stop late-acknowledged tasks when the broker's connection is lost.",
  ),
  workerSoftShutdownTimeout: setting(seconds, 0, "Seconds of a soft shutdown before the cold one; 0 is none."),
  workerEnableSoftShutdownOnIdle: setting(bool, false, "Soft shutdown also when no task runs."),
  workerConcurrency: setting(nullable(integer(1)), null, "Children, or tasks at once; null means one for each CPU."),
  workerConsumer: notYet(name, "celery.worker.consumer:Consumer", "Class that consumes messages."),
  workerDirect: notYet(bool, false, "A queue of its own for each worker: <node name>.dq2.", {
    old: "CELERY_WORKER_DIRECT",
  }),
  workerDisableRateLimits: setting(bool, false, "Ignore rate limits.", { old: "CELERY_DISABLE_RATE_LIMITS" }),
  workerDeduplicateSuccessfulTasks: setting(bool, false, "Skip redelivered tasks that have already succeeded."),
  workerEnableRemoteControl: setting(bool, true, "Listen to inspect and control commands.", {
    old: "CELERY_ENABLE_REMOTE_CONTROL",
  }),
  workerHijackRootLogger: notYet(bool, true, "Take over the logging set up before."),
  workerLogColor: setting(nullable(bool), null, "Colour the log; null means when it goes to a terminal."),
  workerLogFormat: setting(
    text,
    "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s",
    "Form of a line of the log.",
  ),
  workerLostWait: notYet(seconds, 10, "Seconds to wait for a lost child before its task counts as lost.", {
    old: "CELERYD_WORKER_LOST_WAIT",
  }),
  workerMaxMemoryPerChild: setting(nullable(kibibytes), null, "KiB of memory after which a child is replaced."),
  workerMaxTasksPerChild: setting(nullable(integer(1)), null, "Tasks after which a child is replaced."),
  workerPool: setting(name, "prefork", "Kind of pool, or the module of one's own."),
  workerPoolPutlocks: notYet(bool, true, "Hand a task to the pool only when there is room."),
  workerPoolRestarts: setting(bool, false, "Allow the pool_restart command."),
  workerProcAliveTimeout: setting(
    seconds,
    4,
    "Seconds a new child may take to become ready, beside the time its app takes to load.",
  ),
  workerPrefetchMultiplier: setting(integer(0), 4, "Messages held per child; 1 for long tasks, 0 for no bound."),
  workerEtaTaskLimit: setting(nullable(integer(0)), null, "Most tasks with an ETA kept in memory."),
  workerEnablePrefetchCountReduction: setting(bool, true, "Hold fewer messages after a reconnect, until tasks end."),
  workerDisablePrefetch: setting(bool, false, "Fetch a message only when a child is free."),
  workerRedirectStdouts: setting(bool, true, "What tasks print goes to the log.", { old: "CELERY_REDIRECT_STDOUTS" }),
  workerRedirectStdoutsLevel: setting(logLevel, "WARNING", "At this level.", {
    old: "CELERY_REDIRECT_STDOUTS_LEVEL",
  }),
  workerSendTaskEvents: setting(bool, false, "Send monitoring events; the flag -E.", { old: "CELERY_SEND_EVENTS" }),
  workerStateDb: setting(nullable(name), null, "File that keeps revoked tasks over restarts."),
  workerTaskLogFormat: setting(
    text,
    "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s",
    "Form of a line logged by a task.",
  ),
  workerTimer: notYet(nullable(name), null, "Class of the timer."),
  workerTimerPrecision: notYet(number(0), 1, "Most seconds the timer sleeps."),
  workerDetectQuorumQueues: setting(bool, true, "Adapt prefetching on RabbitMQ when there are quorum queues."),

  ...daemonSettings("worker"),

  workerUnknownTasks: setting(
    oneOf("park", "deadletter", "discard"),
    "park",
    "What becomes of a message whose task is not known here, or whose arguments do not fit.",
    own,
  ),
  workerMaxDeadLetters: setting(integer(0), 100_000, "Dead letters kept, the oldest make room; 0 is no bound.", own),
  workerMaxCrashes: setting(integer(1), 3, "Children one task may kill before it goes to the dead letters.", own),
  workerGrace: setting(
    nullable(seconds),
    null,
    "Seconds a warm shutdown may take before it turns cold; null is no bound.",
    own,
  ),
  workerMaxBodySize: setting(bytes, 128 * 2 ** 20, "Bytes a message's body may have; larger ones are refused.", own),
};
