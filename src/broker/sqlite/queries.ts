import type { ProcessIdentity } from "../../system/process-identity.ts";
import type { Row, Sqlite, SqlValue } from "../../system/sqlite.ts";
import { bindingMatches } from "../binding.ts";
import { type Exchange, mostParkedBody, mostParkedLooked, type Queue } from "../broker.ts";

/** Bytes above which a body is kept beside its message. */
const largeBody = 3072;

/** Bytes that a base64 text stands for. */
function sizeOf(base64: string): number {
  const padding = base64.endsWith("==") ? 2 : base64.endsWith("=") ? 1 : 0;
  return Math.floor((base64.length * 3) / 4) - padding;
}

/** A message about to be written. */
export interface NewMessage {
  readonly exchange: string;
  readonly routingKey: string;
  readonly priority: number;
  /** Everything but the body. */
  readonly head: string;
  /** Base64. */
  readonly body: string;
}

/** A message just taken. */
export interface ClaimedRow {
  readonly id: number;
  readonly queue: string;
  readonly priority: number;
  readonly redelivered: boolean;
  readonly exchange: string;
  readonly routingKey: string;
  readonly head: string;
  /** Bytes of the body. */
  readonly size: number;
  /** Base64; empty when it is larger than was asked for. */
  readonly body: string;
}

export interface ParkedRow {
  readonly queue: string;
  /** Milliseconds since 1970. */
  readonly due: number;
  readonly redelivered: boolean;
  readonly exchange: string;
  readonly routingKey: string;
  readonly head: string;
  /** Base64; empty when it is large. */
  readonly body: string;
}

/** Where one message is. */
export interface PlaceRow {
  readonly head: string;
  readonly queue: string;
  /** As in `brokerSchema`. */
  readonly state: 0 | 1 | 2 | 3;
  readonly owner: number | null;
  /** Milliseconds since 1970. */
  readonly due: number | null;
  /** Id of the dead letter. */
  readonly letter: string | null;
}

export interface ConsumerRow {
  readonly id: number;
  readonly node: string;
  readonly identity: ProcessIdentity;
  /** Milliseconds since 1970. */
  readonly renewed: number;
}

export interface DeadRow {
  readonly id: string;
  readonly queue: string;
  readonly reason: string;
  readonly node: string;
  readonly at: number;
  readonly size: number;
  readonly head: string;
  readonly body: string;
}

/**
 * Every statement of the broker, named. All but the few marked as reading must run inside
 * `write`; none does more than one step of the broker's rules.
 */
export class Queries {
  readonly #db: Sqlite;

  constructor(db: Sqlite) {
    this.#db = db;
  }

  // ── queues ─────────────────────────────────────────────────────────────────

  declare(queue: Queue): void {
    const { name, exchange } = queue;
    this.#run("INSERT OR IGNORE INTO queue (name, auto_delete) VALUES (?, ?)", name, queue.autoDelete ? 1 : 0);
    if (exchange.name === "") return;
    this.#run("INSERT OR IGNORE INTO exchange (name, type) VALUES (?, ?)", exchange.name, exchange.type);
    this.#run(
      "INSERT OR IGNORE INTO binding (exchange, routing_key, queue) VALUES (?, ?, ?)",
      exchange.name,
      queue.routingKey,
      name,
    );
  }

  /** The type of an exchange; undefined when nobody has declared it. Reading. */
  exchangeType(name: string): Exchange["type"] | undefined {
    return this.#get("SELECT type FROM exchange WHERE name = ?", name)?.type as Exchange["type"] | undefined;
  }

  /** The queues a routing key leads to, each once. Reading. */
  boundQueues(exchange: string, type: Exchange["type"], routingKey: string): string[] {
    const rows =
      type === "direct"
        ? this.#all("SELECT queue FROM binding WHERE exchange = ? AND routing_key = ?", exchange, routingKey)
        : this.#all("SELECT queue, routing_key FROM binding WHERE exchange = ?", exchange).filter((row) =>
            bindingMatches(type, row.routing_key as string, routingKey),
          );
    return [...new Set(rows.map((row) => row.queue as string))];
  }

  /** Reading. */
  size(queue: string): number {
    return Number(this.#get("SELECT count(*) AS size FROM message WHERE queue = ? AND state = 0", queue)?.size);
  }

  /** The head of the message that goes next. Reading. */
  nextHead(queue: string): string | undefined {
    return this.#get("SELECT head FROM message WHERE queue = ? AND state = 0 ORDER BY priority, id LIMIT 1", queue)
      ?.head as string | undefined;
  }

  /** Messages parked, of all queues. Reading. */
  parked(): number {
    return Number(this.#get("SELECT count(*) AS size FROM message WHERE state = 2")?.size);
  }

  /** Of the soonest due, those of these queues; bodies above `mostParkedBody` are left out. Reading. */
  listParked(queues: readonly string[], limit: number): ParkedRow[] {
    const rows = this.#all(
      `SELECT queue, due, redelivered, exchange, routing_key, head, CASE WHEN size <= ? THEN body END AS body
       FROM (SELECT * FROM message WHERE state = 2 ORDER BY due, id LIMIT ?)
       WHERE queue IN (SELECT value FROM json_each(?)) ORDER BY due, id LIMIT ?`,
      mostParkedBody,
      mostParkedLooked,
      JSON.stringify(queues),
      limit,
    );
    return rows.map((row) => ({
      queue: row.queue as string,
      due: row.due as number,
      redelivered: row.redelivered === 1,
      exchange: row.exchange as string,
      routingKey: row.routing_key as string,
      head: row.head as string,
      body: (row.body ?? "") as string,
    }));
  }

  /** The last of at most `limit` messages behind this one; undefined when there is none. Reading. */
  lastOf(after: number, limit: number): number | undefined {
    const sql = "SELECT max(id) AS last FROM (SELECT id FROM message WHERE id > ? ORDER BY id LIMIT ?)";
    return (this.#get(sql, after, limit)?.last ?? undefined) as number | undefined;
  }

  /**
   * Which of the messages behind `after`, up to `last`, are of these tasks, given as a list in JSON. Those
   * with a head that SQLite cannot read are among them, whatever they are of. Reading.
   */
  places(after: number, last: number, tasks: string): PlaceRow[] {
    return this.#all(
      `SELECT head, queue, state, owner, due, dead.id AS letter FROM message LEFT JOIN dead ON dead.message = message.id
       WHERE message.id > ? AND message.id <= ? AND CASE WHEN json_valid(head)
         THEN json_extract(head, '$[0].id') IN (SELECT value FROM json_each(?)) ELSE 1 END`,
      after,
      last,
      tasks,
    ).map((row) => ({
      head: row.head as string,
      queue: row.queue as string,
      state: row.state as PlaceRow["state"],
      owner: row.owner as number | null,
      due: row.due as number | null,
      letter: row.letter === null ? null : String(row.letter),
    }));
  }

  /** Whether anything waits in the queue. Reading. */
  hasWaiting(queue: string): boolean {
    return this.#get("SELECT 1 FROM message WHERE queue = ? AND state = 0 LIMIT 1", queue) !== undefined;
  }

  /** Removes at most `limit` waiting messages; says how many they were. */
  purgeSome(queue: string, limit: number): number {
    return this.#deleteMessages("queue = ? AND state = 0", [queue], limit);
  }

  /** Removes at most `limit` messages of the queue that are not dead; says how many they were. */
  emptySome(queue: string, limit: number): number {
    return this.#deleteMessages("queue = ? AND state <> 3", [queue], limit);
  }

  dropQueue(queue: string): void {
    this.#run("DELETE FROM binding WHERE queue = ?", queue);
    this.#run("DELETE FROM queue WHERE name = ?", queue);
  }

  // ── messages ───────────────────────────────────────────────────────────────

  insert(queue: string, message: NewMessage): void {
    const size = sizeOf(message.body);
    const inline = size <= largeBody;
    const { lastInsertRowid } = this.#run(
      `INSERT INTO message (queue, priority, state, redelivered, exchange, routing_key, head, size, body)
       VALUES (?, ?, 0, 0, ?, ?, ?, ?, ?)`,
      queue,
      message.priority,
      message.exchange,
      message.routingKey,
      message.head,
      size,
      inline ? message.body : null,
    );
    if (!inline) this.#run("INSERT INTO large_body (message, body) VALUES (?, ?)", lastInsertRowid, message.body);
  }

  /** Takes at most `limit` messages for `owner`, in their order. Bodies above `maxBodySize` bytes stay unread. */
  claim(queue: string, owner: number, limit: number, maxBodySize: number): ClaimedRow[] {
    const rows = this.#all(
      `UPDATE message SET state = 1, owner = ?
       WHERE id IN (SELECT id FROM message WHERE queue = ? AND state = 0 ORDER BY priority, id LIMIT ?)
       RETURNING id, queue, priority, redelivered, exchange, routing_key, head, size,
         CASE WHEN size <= ? THEN body END AS body`,
      owner,
      queue,
      limit,
      maxBodySize,
    );
    return inOrder(rows.map((row) => this.#claimed(row, maxBodySize)));
  }

  /** Takes at most `limit` messages out for good, in their order. */
  takeOut(queue: string, limit: number, maxBodySize: number): ClaimedRow[] {
    const rows = this.#all(
      `DELETE FROM message
       WHERE id IN (SELECT id FROM message WHERE queue = ? AND state = 0 ORDER BY priority, id LIMIT ?)
       RETURNING id, queue, priority, redelivered, exchange, routing_key, head, size,
         CASE WHEN size <= ? THEN body END AS body`,
      queue,
      limit,
      maxBodySize,
    );
    const claimed = rows.map((row) => this.#claimed(row, maxBodySize));
    for (const row of rows)
      if (row.body === null) this.#run("DELETE FROM large_body WHERE message = ?", row.id as number);
    return inOrder(claimed);
  }

  /** Forgets a message of this owner, also when it was taken from it and waits again. False when it is another's. */
  ack(id: number, owner: number, size: number): boolean {
    const { changes } = this.#run("DELETE FROM message WHERE id = ? AND owner = ? AND state < 2", id, owner);
    if (Number(changes) === 0) return false;
    if (size > largeBody) this.#run("DELETE FROM large_body WHERE message = ?", id);
    return true;
  }

  /** Parks a message of this owner; false when it is another's by now. */
  park(id: number, owner: number, due: number): boolean {
    const { changes } = this.#run(
      "UPDATE message SET state = 2, owner = NULL, due = ? WHERE id = ? AND owner = ? AND state < 2",
      due,
      id,
      owner,
    );
    return Number(changes) > 0;
  }

  /** Puts a message of this owner behind all that wait, marked redelivered; false when it is another's by now. */
  requeue(id: number, owner: number, head: string | null = null): boolean {
    const mine = this.#get("SELECT 1 FROM message WHERE id = ? AND owner = ? AND state < 2", id, owner);
    if (mine) this.#moveToTail(id, head);
    return mine !== undefined;
  }

  /** Returns messages to their old places without a mark: they were taken, but nobody has seen them. */
  untake(ids: readonly number[], owner: number): void {
    for (const id of ids) this.#run("UPDATE message SET state = 0 WHERE id = ? AND owner = ? AND state = 1", id, owner);
  }

  /** Returns messages of this owner to their old places, marked redelivered. */
  giveBackThese(ids: readonly number[], owner: number): void {
    const text = "UPDATE message SET state = 0, redelivered = 1 WHERE id = ? AND owner = ? AND state = 1";
    for (const id of ids) this.#run(text, id, owner);
  }

  /** Returns all that this owner holds to its old places, marked redelivered; says how many there were. */
  giveBack(owner: number): number {
    const { changes } = this.#run("UPDATE message SET state = 0, redelivered = 1 WHERE owner = ? AND state = 1", owner);
    return Number(changes);
  }

  /** When the first parked message is due; undefined when none is parked. Reading. */
  nextDue(): number | undefined {
    return this.#get("SELECT due FROM message WHERE state = 2 ORDER BY due LIMIT 1")?.due as number | undefined;
  }

  /** Lets at most `limit` parked messages that are due wait again, where they were; says how many. */
  unpark(now: number, limit: number): number {
    const { changes } = this.#run(
      `UPDATE message SET state = 0, due = NULL
       WHERE id IN (SELECT id FROM message WHERE state = 2 AND due <= ? ORDER BY due LIMIT ?)`,
      now,
      limit,
    );
    return Number(changes);
  }

  // ── consumers ──────────────────────────────────────────────────────────────

  addConsumer(node: string, identity: ProcessIdentity, now: number): number {
    const { lastInsertRowid } = this.#run(
      "INSERT INTO consumer (node, machine, pid, started, renewed) VALUES (?, ?, ?, ?, ?)",
      node,
      identity.machine,
      identity.pid,
      identity.started,
      now,
    );
    return Number(lastInsertRowid);
  }

  /** Says that a consumer lives; false when it had been given up for dead. */
  renew(consumer: number, now: number): boolean {
    return Number(this.#run("UPDATE consumer SET renewed = ? WHERE id = ?", now, consumer).changes) > 0;
  }

  /** A consumer taken for dead that turns out to live gets its row back. */
  restoreConsumer(id: number, node: string, identity: ProcessIdentity, now: number): void {
    this.#run(
      "INSERT OR REPLACE INTO consumer (id, node, machine, pid, started, renewed) VALUES (?, ?, ?, ?, ?, ?)",
      id,
      node,
      identity.machine,
      identity.pid,
      identity.started,
      now,
    );
  }

  /** Reading. */
  consumers(): ConsumerRow[] {
    return this.#all("SELECT id, node, machine, pid, started, renewed FROM consumer").map((row) => ({
      id: row.id as number,
      node: row.node as string,
      identity: { machine: row.machine as string, pid: row.pid as number, started: row.started as string },
      renewed: row.renewed as number,
    }));
  }

  startConsuming(consumer: number, queue: string): void {
    this.#run("INSERT OR IGNORE INTO consuming (consumer, queue) VALUES (?, ?)", consumer, queue);
  }

  stopConsuming(consumer: number, queue: string): void {
    this.#run("DELETE FROM consuming WHERE consumer = ? AND queue = ?", consumer, queue);
  }

  /** Forgets a consumer, and says which queues it was on. */
  removeConsumer(consumer: number): string[] {
    this.#run("DELETE FROM consumer WHERE id = ?", consumer);
    return this.#all("DELETE FROM consuming WHERE consumer = ? RETURNING queue", consumer).map(
      (row) => row.queue as string,
    );
  }

  /** Whether the queue is to go because its last consumer has. Reading. */
  isLeft(queue: string): boolean {
    const row = this.#get(
      `SELECT 1 FROM queue WHERE name = ?1 AND auto_delete = 1
       AND NOT EXISTS (SELECT 1 FROM consuming WHERE queue = ?1)`,
      queue,
    );
    return row !== undefined;
  }

  // ── dead letters ───────────────────────────────────────────────────────────

  /** Puts a message of this owner among the dead; false when it is another's by now. */
  bury(
    id: number,
    owner: number,
    about: { readonly reason: string; readonly node: string; readonly at: number; readonly shelf: boolean },
  ): boolean {
    const { changes } = this.#run(
      "UPDATE message SET state = 3, owner = NULL WHERE id = ? AND owner = ? AND state < 2",
      id,
      owner,
    );
    if (Number(changes) === 0) return false;
    const { reason, node, at, shelf } = about;
    this.#run(
      "INSERT INTO dead (message, reason, node, at, shelf) VALUES (?, ?, ?, ?, ?)",
      id,
      reason,
      node,
      at,
      shelf ? 1 : 0,
    );
    return true;
  }

  /** Reading. */
  countDead(shelf: boolean): number {
    return Number(this.#get("SELECT count(*) AS count FROM dead WHERE shelf = ?", shelf ? 1 : 0)?.count);
  }

  /** Newest first. Reading. */
  listDead(shelf: boolean, limit: number, offset: number, maxBodySize: number): DeadRow[] {
    const rows = this.#all(
      `SELECT dead.id AS dead, reason, node, at, message.id AS id, queue, head, size,
         CASE WHEN size <= ? THEN body END AS body
       FROM dead JOIN message ON message.id = dead.message WHERE shelf = ? ORDER BY dead.id DESC LIMIT ? OFFSET ?`,
      maxBodySize,
      shelf ? 1 : 0,
      limit,
      offset,
    );
    return rows.map((row) => ({
      id: String(row.dead),
      queue: row.queue as string,
      reason: row.reason as string,
      node: row.node as string,
      at: row.at as number,
      size: row.size as number,
      head: row.head as string,
      body: this.#bodyOf(row, maxBodySize),
    }));
  }

  /** Puts a dead letter behind what waits in its queue, marked redelivered; false when there is none of this id. */
  redrive(shelf: boolean, id: string, newHead: (head: string) => string): boolean {
    const row = this.#get("DELETE FROM dead WHERE id = ? AND shelf = ? RETURNING message", id, shelf ? 1 : 0);
    if (row) {
      const { head } = this.#get("SELECT head FROM message WHERE id = ?", row.message as number) as Row;
      this.#moveToTail(row.message as number, newHead(head as string));
    }
    return row !== undefined;
  }

  /** Forgets a dead letter; false when there is none of this id. */
  forgetDead(shelf: boolean, id: string): boolean {
    const row = this.#get("DELETE FROM dead WHERE id = ? AND shelf = ? RETURNING message", id, shelf ? 1 : 0);
    if (row) this.#deleteMessages("id = ?", [row.message as number], 1);
    return row !== undefined;
  }

  /** Forgets the oldest dead letters beyond `most`, a few at a time. */
  trimDead(most: number): void {
    const tooMany = this.countDead(false) - most;
    if (tooMany > 0) for (const id of this.someDead(false, Math.min(tooMany, 100))) this.forgetDead(false, id);
  }

  /** The ids of at most `limit` dead letters, oldest first. Reading. */
  someDead(shelf: boolean, limit: number): string[] {
    return this.#all("SELECT id FROM dead WHERE shelf = ? ORDER BY id LIMIT ?", shelf ? 1 : 0, limit).map((row) =>
      String(row.id),
    );
  }

  // ── notes ──────────────────────────────────────────────────────────────────

  /** Keeps a note, or makes the one that is there young again. */
  writeNote(text: string, now: number): void {
    this.#run("INSERT INTO note (text, at) VALUES (?, ?) ON CONFLICT (text) DO UPDATE SET at = excluded.at", text, now);
  }

  /** Forgets what is older than `oldest`, and of the rest the oldest beyond `most`. */
  sweepNotes(oldest: number, most: number): void {
    this.#run("DELETE FROM note WHERE at <= ?", oldest);
    this.#run("DELETE FROM note WHERE text IN (SELECT text FROM note ORDER BY at DESC LIMIT -1 OFFSET ?)", most);
  }

  /** Younger than `oldest`, oldest first. Reading. */
  notes(oldest: number): { readonly text: string; readonly at: number }[] {
    return this.#all("SELECT text, at FROM note WHERE at > ? ORDER BY at", oldest).map((row) => ({
      text: row.text as string,
      at: row.at as number,
    }));
  }

  // ── parts of the above ─────────────────────────────────────────────────────

  /** A new row and with it a new id: the order of ids is the order of the queue. */
  #moveToTail(id: number, head: string | null): void {
    const { lastInsertRowid } = this.#run(
      `INSERT INTO message (queue, priority, state, redelivered, exchange, routing_key, head, size, body)
       SELECT queue, priority, 0, 1, exchange, routing_key, coalesce(?, head), size, body FROM message WHERE id = ?`,
      head,
      id,
    );
    this.#run("UPDATE large_body SET message = ? WHERE message = ?", lastInsertRowid, id);
    this.#run("DELETE FROM message WHERE id = ?", id);
  }

  #deleteMessages(where: string, values: readonly SqlValue[], limit: number): number {
    const rows = this.#all(
      `DELETE FROM message WHERE id IN (SELECT id FROM message WHERE ${where} LIMIT ?) RETURNING id, body IS NULL AS large`,
      ...values,
      limit,
    );
    for (const row of rows)
      if (row.large === 1) this.#run("DELETE FROM large_body WHERE message = ?", row.id as number);
    return rows.length;
  }

  #claimed(row: Row, maxBodySize: number): ClaimedRow {
    return {
      id: row.id as number,
      queue: row.queue as string,
      priority: row.priority as number,
      redelivered: row.redelivered === 1,
      exchange: row.exchange as string,
      routingKey: row.routing_key as string,
      head: row.head as string,
      size: row.size as number,
      body: this.#bodyOf(row, maxBodySize),
    };
  }

  #bodyOf(row: Row, maxBodySize: number): string {
    if (row.body !== null) return row.body as string;
    if ((row.size as number) > maxBodySize) return "";
    return (this.#get("SELECT body FROM large_body WHERE message = ?", row.id as number)?.body ?? "") as string;
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

/** RETURNING promises no order. */
function inOrder(rows: ClaimedRow[]): ClaimedRow[] {
  return rows.sort((a, b) => a.priority - b.priority || a.id - b.id);
}
