import { formatLocalTime } from "../log.ts";

/** What the start-up text tells. */
export interface BannerFacts {
  /** Node name: `celery@host`. */
  readonly hostname: string;
  /** `0.1.0 (first light)`. */
  readonly version: string;
  /** The machine, in one word: see `platformName`. */
  readonly platform: string;
  readonly now: Date;
  /** The app's name. */
  readonly app: string;
  /** Broker and result store as URLs, passwords masked. */
  readonly transport: string;
  readonly results: string;
  readonly concurrency: number | { readonly min: number; readonly max: number };
  /** `prefork`, `solo` … */
  readonly pool: string;
  readonly taskEvents: boolean;
  readonly queues: readonly BannerQueue[];
  /** Names of the tasks. */
  readonly tasks: readonly string[];
  /** Tasks are listed at INFO and below, the built-in `celery.*` at DEBUG only. Any case. */
  readonly loglevel: string;
}

export interface BannerQueue {
  readonly name: string;
  readonly exchange: { readonly name: string; readonly type: string };
  readonly routingKey: string;
}

/**
 * The text a worker prints when it starts, ending in an empty line: Celery's, in its plain form
 * (celery/apps/worker.py). Pure; the same facts give the same text.
 */
export function banner(facts: BannerFacts): string {
  const { concurrency } = facts;
  const size =
    typeof concurrency === "number" ? String(concurrency) : `{min=${concurrency.min}, max=${concurrency.max}}`;
  const head = [
    `${facts.hostname} v${facts.version}`,
    "",
    `${facts.platform} ${formatLocalTime(facts.now)}`,
    "",
    "[config]",
    `.> app:         ${facts.app}`,
    `.> transport:   ${facts.transport}`,
    `.> results:     ${facts.results}`,
    `.> concurrency: ${size} (${facts.pool})`,
    `.> task events: ${facts.taskEvents ? "ON" : "OFF (enable -E to monitor tasks in this worker)"}`,
    "",
    "[queues]",
    ...facts.queues.map(queueLine),
    "",
  ];
  const tasks = listedTasks(facts.tasks, facts.loglevel.toUpperCase());
  const list = tasks === undefined ? [] : ["", "[tasks]", ...tasks.map((name) => `  . ${name}`), ""];
  return `${[...head, ...list].join("\n")}\n`;
}

/** kombu's QUEUE_FORMAT. */
function queueLine(queue: BannerQueue): string {
  const { name, type } = queue.exchange;
  return `.> ${queue.name.padEnd(16)} exchange=${name}(${type}) key=${queue.routingKey}`;
}

function listedTasks(names: readonly string[], loglevel: string): readonly string[] | undefined {
  if (loglevel !== "INFO" && loglevel !== "DEBUG" && loglevel !== "TRACE") return undefined;
  const listed = loglevel === "INFO" ? names.filter((name) => !name.startsWith("celery.")) : [...names];
  return listed.sort();
}
