/** What beat can be told beyond its app's settings; left out means: as the settings say. Durations are seconds. */
export interface BeatOptions {
  /** `-s`: the file that keeps when entries last ran. */
  readonly schedule?: string;
  readonly maxInterval?: number;
  readonly loglevel?: string;
  /** Path; default stderr. */
  readonly logfile?: string;
  readonly pidfile?: string;
  /** No banner. */
  readonly quiet?: boolean;
  readonly cwd?: string;
  /** `-I`: more modules to import. */
  readonly include?: readonly string[];
}
