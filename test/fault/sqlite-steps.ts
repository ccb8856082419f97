import { setTimeout as delay } from "node:timers/promises";
import { openSqlite, type Sqlite } from "../../src/system/sqlite.ts";
import type { Place } from "./between-steps.ts";
import type { Deed } from "./steps.ts";

/** Milliseconds for which nothing can be written before a file counts as held. */
const heldMs = 500;

/** Which statement does a deed, in the broker's file or in that of the results, and SQL for what it is done to. */
const statements = {
  // What the test itself sends has no parent, and is no next try.
  sends: {
    file: "broker",
    on: "INSERT ON message",
    id: "iif(json_extract(NEW.head, '$[0].parent_id') NOTNULL OR json_extract(NEW.head, '$[0].retries') > 0, json_extract(NEW.head, '$[0].id'), '')",
  },
  acknowledges: { file: "broker", on: "DELETE ON message", id: "json_extract(OLD.head, '$[0].id')" },
  stores: { file: "results", on: "INSERT ON result", id: "NEW.task_id" },
  counts: { file: "results", on: "INSERT ON chord_part", id: "NEW.task_id" },
  forgets: { file: "results", on: "DELETE ON chord", id: null },
} as const;

/** Runs for hours. */
const endless = `CREATE VIEW IF NOT EXISTS endless AS
  WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number LIMIT 1000000000000) SELECT n FROM number`;

/**
 * A place in one file or two. There is no wire to hold up: a trigger on the statement of the next step
 * runs without end inside the worker's own transaction, which therefore is never committed. One at a
 * time: while it runs, nobody writes to that file.
 */
export async function throughTriggers(
  env: Place["env"],
  ...owners: readonly AsyncDisposable[]
): Promise<Pick<Place, "env" | "stop"> & AsyncDisposable> {
  const open = (url: string): Promise<Sqlite> => openSqlite(url.replace("sqlite://", ""));
  const files = { broker: await open(env.TQ_BROKER_URL), results: await open(env.TQ_RESULT_BACKEND) };
  let last: Promise<void> = Promise.resolve();
  const myTurn = async (): Promise<() => void> => {
    const before = last;
    let over: () => void = () => undefined;
    last = new Promise((resolve) => {
      over = resolve;
    });
    await before;
    return over;
  };
  return {
    env,
    async stop(_steps, _cut, mark, part) {
      const [does, name] = (part ?? "").split(" ") as [Exclude<Deed["does"], "hands over" | "opens">, string];
      const { file, on, id } = statements[does];
      const db = files[file];
      let held: Promise<void> = Promise.resolve();
      let over: () => void = () => undefined;
      let tell: () => void = () => undefined;
      return {
        env,
        reached: new Promise((resolve) => {
          tell = resolve;
        }),
        surprises: [],
        async arm() {
          over = await myTurn();
          await db.write(() => {
            db.sql(endless).run();
            const isIt = id === null ? "1" : `${id} = '${mark}.${name}'`;
            db.sql(`CREATE TRIGGER stop BEFORE ${on} WHEN ${isIt} BEGIN SELECT count(*) FROM endless; END`).run();
          });
          void watch();
        },
        async [Symbol.asyncDispose]() {
          await held;
          await db.write(() => void db.sql("DROP TRIGGER IF EXISTS stop").run());
          over();
        },
      };

      async function watch(): Promise<void> {
        for (;;) {
          held = db.write(() => undefined);
          const isFree = await Promise.race([held.then(() => true), delay(heldMs, false)]);
          if (!isFree) return tell();
          await delay(5);
        }
      }
    },
    async [Symbol.asyncDispose]() {
      for (const file of Object.values(files)) await file.close();
      for (const owner of owners) await owner[Symbol.asyncDispose]();
    },
  };
}
