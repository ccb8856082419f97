import { BrokerConnectionError, OperationalError } from "../../errors.ts";

/** Redis failures as the broker port promises them. */
export function brokerError(message: string, lost: boolean, cause?: unknown): OperationalError {
  return lost ? new BrokerConnectionError(message, { cause }) : new OperationalError(message, { cause });
}
