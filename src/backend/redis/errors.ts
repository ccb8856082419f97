import { BackendConnectionError, OperationalError } from "../../errors.ts";

/** Redis failures as the result store's port promises them. */
export function backendError(message: string, lost: boolean, cause?: unknown): OperationalError {
  return lost ? new BackendConnectionError(message, { cause }) : new OperationalError(message, { cause });
}
