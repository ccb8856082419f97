import type { Message } from "../../protocol/message.ts";
import type { Address } from "../broker.ts";

/** One message in one queue. It is the same object while it waits, is held, parked or dead. */
export interface Entry {
  readonly message: Message;
  readonly address: Address;
  readonly queue: string;
  readonly priority: number;
  redelivered: boolean;
}
