/** A call not made yet, as plain data; the wire form and the working form are one (protocol 4.1). */
export interface SignatureDict {
  readonly task: string;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly options: Readonly<Record<string, unknown>>;
  readonly subtask_type: "chain" | "group" | "chord" | "chunks" | "xmap" | "xstarmap" | null;
  readonly immutable: boolean;
}

/** A signature as data, or an object that is one when it is written. */
export type SignatureLike = SignatureDict | { toJSON(): SignatureDict };

/** The data of a signature. */
export function signatureDict(signature: SignatureLike): SignatureDict {
  return "toJSON" in signature && typeof signature.toJSON === "function"
    ? signature.toJSON()
    : (signature as SignatureDict);
}
