import { BrokerConnectionError, OperationalError } from "../../errors.ts";

/** AMQP's reply codes a decision hangs on. */
export const replyCodes = {
  accessRefused: 403,
  notFound: 404,
  resourceLocked: 405,
  preconditionFailed: 406,
  notImplemented: 540,
} as const;

/** The reply code of an error amqplib gives for a method the broker refused; undefined for every other. */
export function replyCodeOf(error: unknown): number | undefined {
  const code = (error as { readonly code?: unknown } | null)?.code;
  return typeof code === "number" ? code : undefined;
}

export const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** The error everybody waiting for this connection is given. */
export function connectionLost(displayUrl: string, reason: unknown): BrokerConnectionError {
  if (reason instanceof BrokerConnectionError) return reason;
  return new BrokerConnectionError(`the connection to ${displayUrl} is lost: ${textOf(reason)}`, { cause: reason });
}

/** The error for work asked of a broker that is not connected. */
export function notConnected(displayUrl: string, reason: unknown): BrokerConnectionError {
  const why = reason ? ` (${textOf(reason)})` : "";
  return new BrokerConnectionError(`not connected to ${displayUrl}${why}: call connect() first`, {
    cause: reason ?? undefined,
  });
}

/** Says why a connection could not be made, in words that tell what to change. */
export function connectFailed(displayUrl: string, reason: unknown): BrokerConnectionError {
  const text = textOf(reason);
  const hint = /ACCESS[_-]REFUSED/.test(text)
    ? ": check user name and password"
    : /NOT[_-]ALLOWED|Expected ConnectionOpenOk/.test(text) // amqplib drops the words of the broker
      ? ": the virtual host does not exist or this user may not enter it"
      : "";
  return new BrokerConnectionError(`cannot connect to ${displayUrl}: ${text}${hint}`, { cause: reason });
}

/** A method the broker refused, while the connection goes on. */
export function refused(doing: string, error: unknown): OperationalError {
  return new OperationalError(`${doing}: ${textOf(error)}`, { cause: error });
}

/** A queue or an exchange that exists with other settings than asked for. */
export function declaredOtherwise(kind: string, name: string, error: unknown): OperationalError {
  return new OperationalError(
    `${kind} ${JSON.stringify(name)} exists with other settings than those asked for: ${textOf(error)}. ` +
      "Declare it here as it is there (taskQueues: durable, queueArguments such as x-max-priority or x-queue-type), " +
      "or delete it on the broker once it is empty",
    { cause: error },
  );
}
