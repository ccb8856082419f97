/** `event_*` and `control_*`: watching and steering workers. */
import { bool, name, seconds, text } from "../parse.ts";
import { notYet } from "../setting.ts";
import { daemonSettings } from "./daemon.ts";

export const monitoringSettings = {
  controlQueueTtl: notYet(seconds, 300, "Seconds a command waits for its worker."),
  controlQueueExpires: notYet(seconds, 10, "Seconds until an unused command queue is removed."),
  controlQueueExclusive: notYet(bool, true, "Command queues belong to one connection."),
  controlQueueDurable: notYet(bool, false, "Command queues survive a restart of the broker."),
  controlExchange: notYet(name, "celery", "Beginning of the names of command exchanges."),
  eventQueueExpires: notYet(seconds, 60, "Seconds until an unused event queue is removed."),
  eventQueueTtl: notYet(seconds, 5, "Seconds an event waits for its monitor."),
  eventQueuePrefix: notYet(text, "celeryev", "Beginning of the names of event queues."),
  eventQueueExclusive: notYet(bool, true, "Event queues belong to one connection."),
  eventQueueDurable: notYet(bool, false, "Event queues survive a restart of the broker."),
  eventSerializer: notYet(name, "json", "Serializer of events."),
  eventExchange: notYet(name, "celeryev", "Exchange of events."),

  ...daemonSettings("events"),
};
