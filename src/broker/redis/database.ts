import { BrokerConnectionError, type OperationalError } from "../../errors.ts";
import { type Answer, type Argument, RedisCommands } from "./commands.ts";
import type { RedisConnection, RedisErrorMaker } from "./connection.ts";
import { inDatabase, type RedisScript } from "./scripts.ts";

/**
 * A database of a server over a connection that works in another one: each command goes out
 * between two SELECTs, in one write, so that nothing of the connection's owner comes between them;
 * a script selects for itself.
 * Failures come out as the error of the port it serves.
 */
export class RedisDatabase extends RedisCommands {
  readonly #connection: RedisConnection;
  readonly #db: number;
  /** Database the connection works in. */
  readonly #home: number;
  readonly #error: RedisErrorMaker;
  readonly #scripts = new Map<RedisScript, RedisScript>();

  private constructor(connection: RedisConnection, db: number, home: number, error: RedisErrorMaker) {
    super();
    this.#connection = connection;
    this.#db = db;
    this.#home = home;
    this.#error = error;
  }

  /** Makes sure that there is such a database and that it may be used. Rejects with the port's error. */
  static async open(
    connection: RedisConnection,
    { db, home, error }: { readonly db: number; readonly home: number; readonly error: RedisErrorMaker },
  ): Promise<RedisDatabase> {
    const database = new RedisDatabase(connection, db, home, error);
    await database.call("ping");
    return database;
  }

  override get isOpen(): boolean {
    return this.#connection.isOpen;
  }

  override async watch<Reply>(answer: Promise<Reply>): Promise<Reply> {
    try {
      return await this.#connection.watch(answer);
    } catch (failure) {
      const { message, cause } = failure as OperationalError;
      throw this.#error(message, failure instanceof BrokerConnectionError, cause);
    }
  }

  protected override prepare(script: RedisScript): RedisScript {
    if (this.#db === this.#home) return script;
    let prepared = this.#scripts.get(script);
    if (prepared === undefined) {
      prepared = inDatabase(script, this.#db);
      this.#scripts.set(script, prepared);
    }
    return prepared;
  }

  override send<Reply>(answer: Answer, command: string, args: readonly Argument[]): Promise<Reply> {
    if (this.#db === this.#home || command === "evalsha" || command === "eval")
      return this.#connection.send(answer, command, args);
    const given = args as Argument[];
    const all = this.#connection.client.pipeline().select(this.#db);
    if (answer === "text") all.call(command, given);
    else all.callBuffer(command, given);
    return all
      .select(this.#home)
      .exec()
      .then((answers) => {
        const [selected, answered] = answers as [[Error | null], [Error | null, Reply]];
        const failure = selected[0] ?? answered[0];
        if (failure !== null) throw failure;
        return answered[1];
      });
  }
}
