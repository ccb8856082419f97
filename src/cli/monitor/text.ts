import stringWidth from "string-width";

/** How many columns of a terminal the text takes: wide characters take two. */
export const columnsOf = (text: string): number => stringWidth(text);

/** The text in at most so many columns, with `...` for what is cut off; as Celery's `abbr`. */
export function abbreviate(text: string, columns: number): string {
  if (columnsOf(text) <= columns) return text;
  return columns <= 3 ? ".".repeat(Math.max(0, columns)) : `${cut(text, columns - 3)}...`;
}

/** A task's name, shortened at its module: `proj.tas[.]add`; as Celery's `abbrtask`. */
export function abbreviateTask(name: string, columns: number): string {
  if (columnsOf(name) <= columns) return name;
  const dot = name.lastIndexOf(".");
  const last = name.slice(dot + 1);
  const room = columns - columnsOf(last) - 3;
  return dot < 0 || room < 0 ? abbreviate(name, columns) : `${cut(name.slice(0, dot), room)}[.]${last}`;
}

/** Cut or filled up with blanks to exactly so many columns. */
export function pad(text: string, columns: number): string {
  const short = abbreviate(text, columns);
  return short + " ".repeat(Math.max(0, columns - columnsOf(short)));
}

/** Broken into lines of at most so many columns, at blanks where there are any. */
export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split("\n")) {
    let rest = paragraph;
    while (columnsOf(rest) > columns) {
      const head = cut(rest, Math.max(1, columns)) || rest.slice(0, 1);
      const blank = head.lastIndexOf(" ");
      const end = blank > 0 ? blank : head.length;
      lines.push(rest.slice(0, end));
      rest = rest.slice(end).replace(/^ /, "");
    }
    lines.push(rest);
  }
  return lines;
}

/** Without what a terminal would obey: a task may return anything. */
export const plain = (text: string): string => text.replaceAll("\t", "    ").replace(/[^\P{Cc}\n]/gu, "\ufffd");

function cut(text: string, columns: number): string {
  let width = 0;
  let end = 0;
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    width += columnsOf(segment);
    if (width > columns) break;
    end += segment.length;
  }
  return text.slice(0, end);
}
