/**
 * The tables of the result store, as steps: a step once released is never changed, only followed.
 *
 * Each change of a result is a new row of `result` with a higher `seq`: whoever waits asks for
 * what is above the last `seq` it has seen. Times are milliseconds since 1970; `expires_at` is
 * null for what is kept for ever.
 */
export const backendSchema: readonly string[] = [
  `
  CREATE TABLE result (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    expires_at INTEGER,
    content_type TEXT NOT NULL,
    content_encoding TEXT NOT NULL,
    is_binary INTEGER NOT NULL,
    body TEXT NOT NULL
  ) STRICT;

  CREATE TABLE result_group (
    group_id TEXT PRIMARY KEY,
    expires_at INTEGER,
    body TEXT NOT NULL
  ) STRICT;

  CREATE TABLE chord (
    group_id TEXT PRIMARY KEY,
    expires_at INTEGER,
    size INTEGER NOT NULL,
    counted INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE chord_part (
    group_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    place INTEGER,
    state TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (group_id, task_id)
  ) STRICT;
  `,
  `
  CREATE TABLE chord_growth (
    group_id TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (group_id, name)
  ) STRICT;
  `,
];
