import { pythonRepr } from "../util/repr.ts";

/** How words stand out on a terminal; elsewhere they are left as they are. */
export interface Style {
  bold(text: string, color: "green" | "red" | "cyan" | "white"): string;
}

const colors = { red: 31, green: 32, cyan: 36, white: 37 } as const;

export const plain: Style = { bold: (text) => text };
export const colored: Style = { bold: (text, color) => `\u001b[1;${colors[color]}m${text}\u001b[0m` };

/** One worker's answer as `celery inspect` prints it: `->  w1@host: OK`, and below it what it said. */
export function replyText(
  node: string,
  reply: unknown,
  options: { readonly style: Style; readonly body: boolean; readonly quiet: boolean },
): string {
  const { style, body, quiet } = options;
  const [isError, text] = pretty(reply, style);
  const status = isError ? style.bold("ERROR", "red") : style.bold("OK", "green");
  const arrow = quiet ? "" : `${style.bold("->", "white")} `;
  const head = `${arrow} ${style.bold(`${node}: `, "cyan")}${status}`;
  return body && text !== "" ? `${head}\n${indent(text)}` : head;
}

/** `2 nodes online.` */
export const onlineText = (count: number): string => `\n${count} ${count === 1 ? "node" : "nodes"} online.`;

function pretty(reply: unknown, style: Style): [isError: boolean, text: string] {
  if (typeof reply === "string") return [false, reply];
  if (Array.isArray(reply)) return [false, listText(reply, style)];
  if (typeof reply === "object" && reply !== null) {
    if ("ok" in reply) return [false, indent(pretty(reply.ok, style)[1])];
    if ("error" in reply) return [true, indent(pretty(reply.error, style)[1])];
    return [false, JSON.stringify(sorted(reply), null, 4)];
  }
  return [false, repr(reply)];
}

function listText(items: readonly unknown[], style: Style): string {
  if (items.length === 0) return "- empty -";
  return items.map((item) => `${style.bold("*", "white")} ${typeof item === "string" ? item : repr(item)}`).join("\n");
}

const repr = (value: unknown): string => pythonRepr(value, { maxLevels: 100, maxLength: 10_000_000 });

const indent = (text: string): string =>
  text
    .split("\n")
    .map((line) => `    ${line}`)
    .join("\n");

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}
