import { arch, release, type } from "node:os";

/** The machine in one word, after Python's `platform.platform()`: `Linux-6.1.0-x64-node-v20.20.2`. */
export function platformName(): string {
  return `${type()}-${release()}-${arch()}-node-${process.version}`;
}

/** The operating system's name, after Python's `platform.system()`: `Linux`. */
export const platformSystem = (): string => type();
