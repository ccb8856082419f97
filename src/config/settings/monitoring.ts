/** `event_*` and `control_*`: watching and steering workers. */
import { bool, name, seconds, text } from "../parse.ts";
import { setting } from "../setting.ts";
import { daemonSettings } from "./daemon.ts";

export const monitoringSettings = {
  controlQueueTtl: setting(seconds, 300, "Seconds a command waits for its worker."),
  controlQueueExpires: setting(seconds, 10, "Seconds until an unused command queue is removed."),
  controlQueueExclusive: setting(bool, true, "Command queues belong to one connection."),
  controlQueueDurable: setting(bool, false, "Command queues survive a restart of the broker."),
  controlExchange: setting(name, "celery", "Beginning of the names of command exchanges."),
  eventQueueExpires: setting(seconds, 60, "Seconds until an unused event queue is removed."),
  eventQueueTtl: setting(seconds, 5, "Seconds an event waits for its monitor."),
  eventQueuePrefix: setting(text, "celeryev", "Beginning of the names of event queues."),
  eventQueueExclusive: setting(bool, true, "Event queues belong to one connection."),
  eventQueueDurable: setting(bool, false, "Event queues survive a restart of the broker."),
  eventSerializer: setting(name, "json", "Serializer of events."),
  eventExchange: setting(name, "celeryev", "Exchange of events."),

  ...daemonSettings("events"),
};
