import { readPickle } from "./pickle-reader.ts";
import { writePickle } from "./pickle-writer.ts";
import type { Serializer } from "./serializer.ts";

export { PickledGlobal, PickledObject } from "./pickle-classes.ts";

/**
 * Python's pickle, data only (protocol 3.1). Reading runs no code: a class or a function named
 * by the message is a name, and only a fixed list of value types is made from it. Reads
 * protocols 0 to 5, writes 4.
 */
export const pickleSerializer: Serializer = {
  name: "pickle",
  contentType: "application/x-python-serialize",
  contentEncoding: "binary",
  encode: writePickle,
  decode: readPickle,
};
