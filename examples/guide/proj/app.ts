import { Tq } from "tq";

/** Celery's `proj/celery.py`: the app, where its tasks are, and a setting. */
export const app = new Tq("proj", { include: ["./tasks.ts"] });

app.conf.update({ resultExpires: 3600 });
