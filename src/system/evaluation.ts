/** The question, in the words of Node's inspector, for the value of an expression, which must be one JSON has. */
export const encodeEvaluation = (id: number, expression: string): string =>
  JSON.stringify({ id, method: "Runtime.evaluate", params: { expression, returnByValue: true, silent: true } });

/** The answer; the value is undefined where the expression threw. */
export function decodeEvaluation(text: string): { readonly id: number; readonly value: unknown } {
  const { id, result } = JSON.parse(text) as {
    readonly id: number;
    readonly result?: { readonly result?: { readonly value?: unknown } };
  };
  return { id, value: result?.result?.value };
}
