/** A call not made yet, as plain data; the wire form and the working form are one (protocol 4.1). */
export interface SignatureDict {
  readonly task: string;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly options: Readonly<Record<string, unknown>>;
  readonly subtask_type: "chain" | "group" | "chord" | "chunks" | "xmap" | "xstarmap" | null;
  readonly immutable: boolean;
}
