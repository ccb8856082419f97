import type { RedisScript } from "./scripts.ts";

/** What a command may be given. */
export type Argument = string | number | Buffer;

/** Whether texts of the answer come as text, or as the bytes they are. */
export type Answer = "text" | "bytes";

/** Commands and scripts, over whatever carries them. Every failure comes out as an error of the port they serve. */
export abstract class RedisCommands {
  /** Redis 7 knows script flags; older servers refuse the line that carries them. */
  #flags = true;

  abstract get isOpen(): boolean;

  /** Holds the deadline over the answer to a command, and translates its error. */
  abstract watch<Reply>(answer: Promise<Reply>): Promise<Reply>;

  /** Hands a command over to be written. Its error is still the driver's. */
  abstract send<Reply>(answer: Answer, command: string, args: readonly Argument[]): Promise<Reply>;

  /** Sends one command. */
  call<Reply>(command: string, ...args: Argument[]): Promise<Reply> {
    return this.watch(this.send<Reply>("text", command, args));
  }

  /** Sends one command whose answer comes as bytes. */
  callBuffer<Reply>(command: string, ...args: Argument[]): Promise<Reply> {
    return this.watch(this.send<Reply>("bytes", command, args));
  }

  /** Runs a script by its hash, and by its text where the server does not know it yet. */
  run<Reply>(
    script: RedisScript,
    keys: readonly string[],
    args: readonly Argument[],
    answer: Answer = "text",
  ): Promise<Reply> {
    const { sha } = this.#fit(script);
    const sent = this.send<Reply>(answer, "evalsha", [sha, keys.length, ...keys, ...args]);
    return this.watch(
      sent.catch((error: unknown) => {
        if (textOf(error).startsWith("NOSCRIPT")) return this.#runText<Reply>(script, keys, args, answer);
        throw error;
      }),
    );
  }

  async #runText<Reply>(
    script: RedisScript,
    keys: readonly string[],
    args: readonly Argument[],
    answer: Answer,
  ): Promise<Reply> {
    const send = (text: string): Promise<Reply> =>
      this.send<Reply>(answer, "eval", [text, keys.length, ...keys, ...args]);
    try {
      return await send(this.#fit(script).text);
    } catch (error) {
      if (!this.#flags || script.older === null || !/compiling script/i.test(textOf(error))) throw error;
      this.#flags = false;
      return send(this.#fit(script).text);
    }
  }

  #fit(script: RedisScript): RedisScript {
    const prepared = this.prepare(script);
    return this.#flags ? prepared : (prepared.older ?? prepared);
  }

  /** The script as it is sent. */
  protected prepare(script: RedisScript): RedisScript {
    return script;
  }
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
