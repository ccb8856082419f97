import { TqError } from "../errors.ts";

/** Why a child or a thread cannot start: a mistake of the user's by its message, anything else with where it comes from. */
export function startFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error instanceof TqError ? error.message : (error.stack ?? error.message);
}
