import type { Message } from "../../protocol/message.ts";
import { parseWireJson, writeWireJson } from "../../protocol/wire-json.ts";

type HeadParts = [Message["headers"], Message["properties"], string, string];

/** Everything of a message but its body, as the file keeps it. Throws `EncodeError` for what JSON cannot write. */
export function writeHead(message: Message): string {
  return writeWireJson([message.headers, message.properties, message.contentType, message.contentEncoding]);
}

/** The message again. A head that cannot be read gives what makes it damaged and an empty message around the body. */
export function readHead(head: string, body: string): { readonly message: Message; readonly damage: string | null } {
  try {
    const [headers, properties, contentType, contentEncoding] = parseWireJson(head) as HeadParts;
    return { message: { headers, properties, contentType, contentEncoding, body }, damage: null };
  } catch (error) {
    const message = { headers: {}, properties: {}, contentType: "", contentEncoding: "", body };
    return { message, damage: `its headers cannot be read: ${(error as Error).message}` };
  }
}
