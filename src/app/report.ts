import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { endianness, release, type } from "node:os";
import { effectiveBrokerUrls, effectiveResultBackend } from "../config/effective.ts";
import type { Settings } from "../config/settings.ts";
import { maskUrl } from "../config/url.ts";
import { codename, version } from "../version.ts";

/** What of an app the report reads. */
export interface ReportedApp {
  readonly main: string;
  readonly file: string | null;
  readonly conf: { readonly settings: Settings; humanize(): string };
}

/**
 * What helps to understand a problem on another machine: versions, platform, transports and the
 * settings that were changed. Passwords and anything whose name hints at a secret are masked.
 */
export function bugReport(app: ReportedApp): string {
  const { settings } = app.conf;
  const brokers = effectiveBrokerUrls(settings).map((url) => maskUrl(url));
  const packages = ["ioredis", "amqplib", "pino", "@photostructure/sqlite"].map((name) => `${name}:${versionOf(name)}`);
  return [
    "",
    `software -> tq:${version} (${codename}) node:${process.versions.node} v8:${process.versions.v8}`,
    `            ${packages.join(" ")}`,
    `platform -> system:${type()} arch:${process.arch}, ${endianness()}`,
    `            kernel version:${release()}`,
    `app      -> ${app.main}${app.file === null ? "" : ` (${app.file})`}`,
    `settings -> transport:${brokers.join(";")} results:${maskUrl(effectiveResultBackend(settings))}`,
    "",
    app.conf.humanize(),
  ]
    .join("\n")
    .trimEnd();
}

/** Asked of the package's own file: not every package lets its package.json be imported. */
function versionOf(name: string): string {
  try {
    const entry = createRequire(import.meta.url).resolve(name);
    const folder = entry.slice(0, entry.lastIndexOf(`/node_modules/${name}/`) + `/node_modules/${name}/`.length);
    return (JSON.parse(readFileSync(`${folder}package.json`, "utf8")) as { readonly version: string }).version;
  } catch {
    return "not found";
  }
}
