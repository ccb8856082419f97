import type { EntryHistory } from "./entry.ts";

/** When entries last ran, by name. */
export type Histories = ReadonlyMap<string, EntryHistory>;

/** Remembers when entries last ran, over restarts; one beat holds it at a time. */
export interface ScheduleStore {
  /** Where it is, for people. */
  readonly place: string;
  /** Takes hold of it and reads it. Rejects with a `TqError` of code `TQ_PIDFILE_HELD` when another beat has it. */
  open(): Promise<Histories>;
  save(histories: Histories): Promise<void>;
  close(): Promise<void>;
}
