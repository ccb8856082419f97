/**
 * The tables of the broker, as steps: a step once released is never changed, only followed.
 *
 * - `message`: one row per message and queue. `state` is 0 waiting, 1 held by `owner`, 2 parked
 *   until `due`, 3 dead. Priority 0 goes first, then the smaller id. The owner stays written
 *   when a message goes back to waiting, so that a late ack of its last holder still counts.
 * - `large_body`: bodies too large to be written again each time a message changes its state.
 * - `consumer`: who holds messages; `renewed` is when it last said that it lives.
 * - `consuming`: which queues a consumer is on, so that an auto-delete queue goes with the last.
 * - `dead`: why, when and by whom a message was rejected; `shelf` is 1 for what others may run.
 * - `note`: what was revoked, and when.
 *
 * Times are milliseconds since 1970.
 */
export const brokerSchema: readonly string[] = [
  `
  CREATE TABLE queue (
    name TEXT PRIMARY KEY,
    auto_delete INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE exchange (
    name TEXT PRIMARY KEY,
    type TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE binding (
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    queue TEXT NOT NULL,
    PRIMARY KEY (exchange, routing_key, queue)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX binding_by_queue ON binding (queue);

  CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state INTEGER NOT NULL,
    owner INTEGER,
    due INTEGER,
    redelivered INTEGER NOT NULL,
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    head TEXT NOT NULL,
    size INTEGER NOT NULL,
    body TEXT
  ) STRICT;
  CREATE INDEX message_waiting ON message (queue, priority) WHERE state = 0;
  CREATE INDEX message_held ON message (owner) WHERE state = 1;
  CREATE INDEX message_parked ON message (due) WHERE state = 2;

  CREATE TABLE large_body (
    message INTEGER PRIMARY KEY,
    body TEXT NOT NULL
  ) STRICT;

  CREATE TABLE consumer (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    node TEXT NOT NULL,
    machine TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,
    renewed INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE consuming (
    consumer INTEGER NOT NULL,
    queue TEXT NOT NULL,
    PRIMARY KEY (consumer, queue)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX consuming_by_queue ON consuming (queue);

  CREATE TABLE dead (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    message INTEGER NOT NULL,
    reason TEXT NOT NULL,
    node TEXT NOT NULL,
    at INTEGER NOT NULL
  ) STRICT;
  `,
  `
  CREATE TABLE note (
    text TEXT PRIMARY KEY,
    at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX note_by_age ON note (at);
  `,
  `
  ALTER TABLE dead ADD COLUMN shelf INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX dead_by_shelf ON dead (shelf, id);
  `,
];
