/** Characters shown of a text that may be as long as its sender likes. */
const mostShown = 1_000;

/** Foreign text as it may stand in a line of a log: on one line, and of a length somebody reads. */
export function legible(text: string): string {
  const shown = text.length > mostShown ? `${text.slice(0, mostShown)}…` : text;
  return shown.replace(/[\p{Cc}\u2028\u2029]/gu, escaped);
}

const escaped = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
