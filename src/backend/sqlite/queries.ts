import type { Row, Sqlite, SqlValue } from "../../system/sqlite.ts";
import type { ResultRecord, StoredBody } from "../record.ts";

/** A part of a chord as it is kept: its result as JSON. */
export interface StoredPart {
  readonly taskId: string;
  readonly place: number | null;
  readonly state: string;
  readonly body: string;
}

/**
 * Every statement of the result store, named. All but those marked as reading must run inside
 * `write`. `now` and `expiresAt` are milliseconds since 1970.
 */
export class Queries {
  readonly #db: Sqlite;

  constructor(db: Sqlite) {
    this.#db = db;
  }

  /** Keeps a result, unless a SUCCESS is kept already; false then. */
  store(record: ResultRecord, expiresAt: number | null, now: number): boolean {
    const { changes } = this.#run(
      `INSERT OR REPLACE INTO result (task_id, state, expires_at, content_type, content_encoding, is_binary, body)
       SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
       WHERE NOT EXISTS (SELECT 1 FROM result WHERE task_id = ?1 AND state = 'SUCCESS' AND ifnull(expires_at > ?8, 1))`,
      record.taskId,
      record.state,
      expiresAt,
      record.contentType,
      record.contentEncoding,
      record.binary ? 1 : 0,
      record.body,
      now,
    );
    return Number(changes) > 0;
  }

  /** Reading. */
  load(taskId: string, now: number): StoredBody | undefined {
    const row = this.#get(
      `SELECT content_type, content_encoding, is_binary, body FROM result
       WHERE task_id = ? AND ifnull(expires_at > ?, 1)`,
      taskId,
      now,
    );
    return (
      row && {
        contentType: row.content_type as string,
        contentEncoding: row.content_encoding as string,
        binary: row.is_binary === 1,
        body: row.body as string,
      }
    );
  }

  forget(taskId: string): void {
    this.#run("DELETE FROM result WHERE task_id = ?", taskId);
  }

  /** The number of the last change. Reading. */
  lastChange(): number {
    return Number(this.#get("SELECT ifnull(max(seq), 0) AS seq FROM result")?.seq);
  }

  /** The changes after `seq`, in their order, at most `limit`. Reading. */
  changesAfter(seq: number, limit: number): { readonly seq: number; readonly taskId: string }[] {
    const rows = this.#all("SELECT seq, task_id FROM result WHERE seq > ? ORDER BY seq LIMIT ?", seq, limit);
    return rows.map((row) => ({ seq: row.seq as number, taskId: row.task_id as string }));
  }

  saveGroup(groupId: string, body: string, expiresAt: number | null): void {
    this.#run(
      "INSERT OR REPLACE INTO result_group (group_id, expires_at, body) VALUES (?, ?, ?)",
      groupId,
      expiresAt,
      body,
    );
  }

  /** Reading. */
  loadGroup(groupId: string, now: number): string | undefined {
    return this.#get("SELECT body FROM result_group WHERE group_id = ? AND ifnull(expires_at > ?, 1)", groupId, now)
      ?.body as string | undefined;
  }

  forgetGroup(groupId: string): void {
    this.#run("DELETE FROM result_group WHERE group_id = ?", groupId);
  }

  /** Sets the size of a chord; with `grow`, a name, raises it, once for each name. */
  openChord(groupId: string, size: number, grow: string | null, expiresAt: number | null): void {
    if (grow !== null) {
      const { changes } = this.#run("INSERT OR IGNORE INTO chord_growth (group_id, name) VALUES (?, ?)", groupId, grow);
      if (Number(changes) === 0) return;
    }
    this.#run(
      `INSERT INTO chord (group_id, expires_at, size, counted) VALUES (?1, ?2, ?3, 0)
       ON CONFLICT (group_id) DO UPDATE SET expires_at = ?2, size = iif(?4, size + ?3, ?3)`,
      groupId,
      expiresAt,
      size,
      grow === null ? 0 : 1,
    );
  }

  /** Counts a part in, once per task; true when it was the last one. */
  addPart(groupId: string, part: StoredPart, now: number): boolean {
    const { changes } = this.#run(
      `INSERT OR IGNORE INTO chord_part (group_id, task_id, place, state, body)
       SELECT ?1, ?2, ?3, ?4, ?5
       WHERE EXISTS (SELECT 1 FROM chord WHERE group_id = ?1 AND ifnull(expires_at > ?6, 1))`,
      groupId,
      part.taskId,
      part.place,
      part.state,
      part.body,
      now,
    );
    if (Number(changes) === 0) return false;
    const row = this.#get(
      "UPDATE chord SET counted = counted + 1 WHERE group_id = ? RETURNING counted = size AS complete",
      groupId,
    );
    return row?.complete === 1;
  }

  /** The task that brought the last part of a chord that is complete and not closed. Reading. */
  completedBy(groupId: string): string | undefined {
    const row = this.#get(
      `SELECT task_id FROM chord_part JOIN chord USING (group_id)
       WHERE group_id = ? AND counted = size ORDER BY chord_part.rowid DESC LIMIT 1`,
      groupId,
    );
    return row?.task_id as string | undefined;
  }

  /** In group order, those without a place last. Reading. */
  parts(groupId: string): StoredPart[] {
    const rows = this.#all(
      "SELECT task_id, place, state, body FROM chord_part WHERE group_id = ? ORDER BY place IS NULL, place, rowid",
      groupId,
    );
    return rows.map((row) => ({
      taskId: row.task_id as string,
      place: row.place as number | null,
      state: row.state as string,
      body: row.body as string,
    }));
  }

  closeChord(groupId: string): void {
    this.#run("DELETE FROM chord WHERE group_id = ?", groupId);
    this.#run("DELETE FROM chord_part WHERE group_id = ?", groupId);
    this.#run("DELETE FROM chord_growth WHERE group_id = ?", groupId);
  }

  /** Removes what has expired of the results after `seq`, looking at `limit` of them. */
  expireAfter(
    seq: number,
    limit: number,
    now: number,
  ): { readonly last: number | undefined; readonly removed: number } {
    const last = this.#get(
      "SELECT max(seq) AS last FROM (SELECT seq FROM result WHERE seq > ? ORDER BY seq LIMIT ?)",
      seq,
      limit,
    )?.last as number | null;
    if (last === null) return { last: undefined, removed: 0 };
    const { changes } = this.#run("DELETE FROM result WHERE seq > ? AND seq <= ? AND expires_at <= ?", seq, last, now);
    return { last, removed: Number(changes) };
  }

  expireGroups(now: number): void {
    this.#run("DELETE FROM result_group WHERE expires_at <= ?", now);
    for (const row of this.#all("SELECT group_id FROM chord WHERE expires_at <= ?", now)) {
      this.closeChord(row.group_id as string);
    }
  }

  #run(sql: string, ...values: SqlValue[]) {
    return this.#db.sql(sql).run(...values);
  }

  #get(sql: string, ...values: SqlValue[]): Row | undefined {
    return this.#db.sql(sql).get(...values);
  }

  #all(sql: string, ...values: SqlValue[]): Row[] {
    return this.#db.sql(sql).all(...values);
  }
}
