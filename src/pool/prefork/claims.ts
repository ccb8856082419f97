import { execFileSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Who takes a job's token has the job. The tokens of what a child was given lie in a pipe that
 * both it and its parent read: the child takes one before it begins a job, the parent takes what
 * is left when somebody else had better run it. A read is one step of the operating system, so no
 * job is ever begun by two, and the parent needs no answer from a child whose event loop is blocked.
 */
export class Claims {
  readonly fd: number;
  readonly #taken = Buffer.alloc(tokenSize * 256);
  #open = true;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** Before the jobs themselves are sent. */
  offer(seqs: readonly number[]): void {
    const tokens = Buffer.alloc(seqs.length * tokenSize);
    seqs.forEach((seq, index) => {
      tokens.writeUInt32LE(seq, index * tokenSize);
    });
    writeSync(this.fd, tokens);
  }

  /** What has not begun, the longest waiting first, at most so many: from now on it is the caller's. */
  takeBack(most = Number.POSITIVE_INFINITY): readonly number[] {
    const seqs: number[] = [];
    while (this.#open && seqs.length < most) {
      const room = Math.min(this.#taken.length, (most - seqs.length) * tokenSize);
      const read = readWithoutWaiting(this.fd, this.#taken, room);
      for (let at = 0; at < read; at += tokenSize) seqs.push(this.#taken.readUInt32LE(at));
      if (read < room) break;
    }
    return seqs;
  }

  close(): void {
    if (this.#open) closeSync(this.fd);
    this.#open = false;
  }
}

/** The child's side: the next job that is still its own, or undefined when all were taken back. */
export function takeClaim(fd: number): number | undefined {
  return readWithoutWaiting(fd, claimed, tokenSize) === tokenSize ? claimed.readUInt32LE(0) : undefined;
}

const tokenSize = 4;
const claimed = Buffer.alloc(tokenSize);

function readWithoutWaiting(fd: number, into: Buffer, length: number): number {
  try {
    return readSync(fd, into, 0, length, null);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") return 0;
    throw error;
  }
}

/** Makes the pipes, several at a time: one that lives in a folder for a moment and nowhere after that. */
export class ClaimsMaker {
  readonly #stock: Claims[] = [];

  make(): Claims {
    if (this.#stock.length === 0) this.stockUp();
    return this.#stock.pop() as Claims;
  }

  close(): void {
    for (const claims of this.#stock.splice(0)) claims.close();
  }

  /** Throws when the system has no named pipes. */
  stockUp(): void {
    const folder = mkdtempSync(join(tmpdir(), "tq-claims-"));
    try {
      const paths = Array.from({ length: stockSize }, (_, n) => join(folder, String(n)));
      execFileSync("mkfifo", ["-m", "600", ...paths], { stdio: ["ignore", "ignore", "pipe"] });
      for (const path of paths) {
        this.#stock.push(new Claims(openSync(path, constants.O_RDWR | constants.O_NONBLOCK)));
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
}

const stockSize = 4;
