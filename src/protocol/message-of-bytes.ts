import type { Message } from "./message.ts";

/**
 * A message whose body is kept as the bytes of its base64 text, sliced out of what came, and
 * becomes text only for whoever reads `body`. On its way to a child nobody does. A copy made by
 * spreading is a plain message.
 */
export class MessageOfBytes implements Message {
  readonly headers: Message["headers"];
  readonly properties: Message["properties"];
  readonly contentType: string;
  readonly contentEncoding: string;
  declare readonly body: string;
  #bytes: Buffer | undefined;

  constructor(parts: Omit<Message, "body">, bytes: Buffer) {
    this.headers = parts.headers;
    this.properties = parts.properties;
    this.contentType = parts.contentType;
    this.contentEncoding = parts.contentEncoding;
    this.#bytes = bytes;
    // Its own and not its class's, so that a copy has it too.
    Object.defineProperty(this, "body", { enumerable: true, get: () => this.#text() });
  }

  /** The base64 text of a message's body as bytes, where it is kept so. */
  static bytesOf(message: object): Buffer | undefined {
    return #bytes in message ? message.#bytes : undefined;
  }

  /** Takes them out, for good: they have been read, and what they stand in is wanted for others. */
  static takeBytes(message: object): Buffer | undefined {
    if (!(#bytes in message)) return undefined;
    const bytes = message.#bytes;
    message.#bytes = undefined;
    return bytes;
  }

  #text(): string {
    if (this.#bytes === undefined) throw new Error("the body of this message is gone: it was read before");
    return this.#bytes.toString("latin1");
  }
}

/** The message with other headers, its body kept as it is. */
export function withHeaders<Headers extends Message["headers"]>(
  message: Message,
  headers: Headers,
): Message & { readonly headers: Headers } {
  const bytes = MessageOfBytes.bytesOf(message);
  const changed =
    bytes === undefined ? { ...message, headers } : new MessageOfBytes({ ...partsOf(message), headers }, bytes);
  return changed as Message & { readonly headers: Headers };
}

const partsOf = ({ properties, contentType, contentEncoding }: Message): Omit<Message, "body" | "headers"> => ({
  properties,
  contentType,
  contentEncoding,
});
