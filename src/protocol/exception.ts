/** An exception on the wire (protocol 8.1). `exc_message` is the array of arguments; older workers send text. */
export interface WireError {
  readonly exc_type: string;
  readonly exc_message: unknown;
  readonly exc_module: string | null;
}
