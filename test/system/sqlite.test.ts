import { expect, test } from "vitest";
import { openSqlite, type Sqlite } from "../../src/system/sqlite.ts";
import { temporaryFolder } from "../helpers/tmp.ts";

/** A file with a table of notes. */
async function open(path: string) {
  const db = await openSqlite(path);
  await db.migrate("test", ["CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT"]);
  return db;
}

const note = (db: Sqlite, text: string) => (): void => {
  db.sql("INSERT INTO note (text) VALUES (?)").run(text);
};
const notes = (db: Sqlite) =>
  db.read(() =>
    db
      .sql("SELECT text FROM note ORDER BY id")
      .all()
      .map((row) => row.text),
  );

test("what has time is written with what has none, in one transaction and in order", async () => {
  await using folder = await temporaryFolder();
  const db = await open(folder.file("tq.db"));
  const soon = db.write(note(db, "soon"), "soon");
  const seen = soon.then(() => notes(db));
  await new Promise((resolve) => setImmediate(resolve)); // a tick later still the same transaction
  await Promise.all([db.write(note(db, "along"), "along"), db.write(note(db, "now"))]);
  expect(await seen).toEqual(["soon", "along", "now"]);
  await db.close();
});

test("what has time is written also when nothing comes to take it along, and before the file is closed", async () => {
  await using folder = await temporaryFolder();
  const db = await open(folder.file("tq.db"));
  await db.write(note(db, "alone"), "along");
  await db.write(note(db, "by the clock"), "soon");
  const last = db.write(note(db, "at the end"), "soon");
  await db.close();
  await last;
  const again = await open(folder.file("tq.db"));
  expect(await notes(again)).toEqual(["alone", "by the clock", "at the end"]);
  await again.close();
});
