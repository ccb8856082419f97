/**
 * Where results are kept in Redis (protocol 8.1, 8.2). The name of each key is also the channel on
 * which its value is published.
 *
 *     celery-task-meta-<task id>         string  one result
 *     celery-taskset-meta-<group id>     string  a saved group
 *     celery-taskset-meta-<group id>.j   zset    finished parts of a chord, by place in the group;
 *                                                a list when `result_chord_ordered` is off
 *     celery-taskset-meta-<group id>.t   string  how many parts were added later
 *     celery-taskset-meta-<group id>.s   string  how many parts there are
 *     tq:chord:<group id>                hash    task id of each part that was counted; who fired it
 *     tq:canvas:<id>                     string  a workflow as it was sent, by the id of its result
 */
export interface ResultKeys {
  readonly prefix: string;
  /** Before a task's id. */
  readonly task: string;
  /** Before a group's id. */
  readonly group: string;
  /** Before a group's id: what counts its chord. */
  readonly counted: string;
  /** Before the id of a workflow's result: what was sent, for `tq canvas`. */
  readonly workflow: string;
}

/** Names under `global_keyprefix`, to which Celery adds `_` unless it ends in `:`, `_`, `-` or `.`. */
export function resultKeys(options: Readonly<Record<string, unknown>>): ResultKeys {
  const given = typeof options.global_keyprefix === "string" ? options.global_keyprefix : "";
  const prefix = given === "" || /[:_.-]$/.test(given) ? given : `${given}_`;
  return {
    prefix,
    task: `${prefix}celery-task-meta-`,
    group: `${prefix}celery-taskset-meta-`,
    counted: `${prefix}tq:chord:`,
    workflow: `${prefix}tq:canvas:`,
  };
}
