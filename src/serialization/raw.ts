import { EncodeError } from "../errors.ts";
import type { Serializer } from "./serializer.ts";

/** Bytes as they are. Text is sent as its utf-8. Never used for tasks. */
export const rawSerializer: Serializer = {
  name: "raw",
  contentType: "application/data",
  contentEncoding: "binary",
  encode(value) {
    if (value instanceof Uint8Array) return value;
    if (typeof value === "string") return Buffer.from(value, "utf8");
    throw new EncodeError(
      `the serializer raw takes a Uint8Array or text, not ${value === null ? "null" : `a ${typeof value}`}`,
    );
  },
  decode: (bytes) => bytes,
};
