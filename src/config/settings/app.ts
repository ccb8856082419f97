/** Settings without a group: what all parts of an app go by. */
import { bool, list, nullable, timeZone } from "../parse.ts";
import { notYet, setting } from "../setting.ts";

export const appSettings = {
  acceptContent: setting(
    list,
    ["json"],
    "Content types a worker or a client decodes, by serializer name or MIME type.",
  ),
  resultAcceptContent: setting(nullable(list), null, "The same for results; null means acceptContent."),
  enableUtc: notYet(bool, true, "Times in messages are UTC; off means local time."),
  imports: setting(list, [], "Modules a worker imports when it starts."),
  include: setting(list, [], "Further modules a worker imports, after imports."),
  timezone: setting(nullable(timeZone), null, "IANA time zone of schedules and naive times; null means UTC."),
};
