import { registerSerializer, Tq } from "tq";

/** Celery's `proj/celery.py`: the app, where its tasks are, and a setting. */
export const app = new Tq("proj", { include: ["./tasks.ts"] });

app.conf.update({
  resultExpires: 3600,
  resultExtended: true,
  acceptContent: ["json", "msgpack", "shout"],
  taskRoutes: { "proj.tasks.upload*": { queue: "celery" }, "feed.tasks.*": "feeds" },
});

/** A serializer of one's own: made here, so that workers know it too. */
registerSerializer({
  name: "shout",
  contentType: "application/x-shout",
  encode: (value) => Buffer.from(`!${JSON.stringify(value)}!`),
  decode: (bytes) => JSON.parse(Buffer.from(bytes).toString("utf8").slice(1, -1)) as unknown,
});
