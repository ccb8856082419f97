/**
 * A message as every broker carries it. The body is opaque: `body` holds the serialized
 * bytes as base64, the form Redis already stores and frames between processes carry without
 * escaping. Only whoever runs the task decodes it.
 */
export interface Message {
  readonly headers: Readonly<Record<string, unknown>>;
  readonly properties: MessageProperties;
  readonly contentType: string;
  readonly contentEncoding: string;
  readonly body: string;
}

/** The AMQP basic properties Celery uses, under their wire names (protocol 1.2). */
export interface MessageProperties {
  readonly correlation_id?: string;
  readonly reply_to?: string;
  readonly priority?: number;
  /** Milliseconds, as text. */
  readonly expiration?: string;
  readonly delivery_mode?: 1 | 2;
  /** Options `applyAsync` does not know become properties (`message_id`, `user_id`, …). */
  readonly [property: string]: unknown;
}
