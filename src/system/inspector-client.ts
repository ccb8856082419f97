import { once } from "node:events";
import type { WebSocket } from "ws";
import { decodeEvaluation, encodeEvaluation } from "./evaluation.ts";

/** Works on every Node this runs on, in modules of either kind; the next opening takes another port. */
const shutExpression = `(() => {
  if (process.execArgv.some((flag) => flag.startsWith("--inspect-port=") && /\\b0$/.test(flag))) process.debugPort = 0;
  (process.getBuiltinModule?.("node:inspector").close ?? process._debugEnd)();
})()`;

/** Speaks to the inspector of another Node process. Everything it is asked rejects when that has ended. */
export class InspectorClient {
  readonly #socket: WebSocket;
  readonly #asked = new Map<number, Asked>();
  readonly #closed: Promise<void>;
  #id = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (text) => this.#onMessage(String(text)));
    socket.on("error", () => undefined); // followed by its end
    this.#closed = new Promise((resolve) => {
      socket.once("close", () => {
        for (const { reject } of this.#asked.values()) reject(hasClosed());
        this.#asked.clear();
        resolve();
      });
    });
  }

  /** `address` as Node prints it: `ws://127.0.0.1:PORT/ID`. */
  static async connect(address: string): Promise<InspectorClient> {
    const { WebSocket } = await import("ws");
    const socket = new WebSocket(address, { perMessageDeflate: false });
    await once(socket, "open");
    return new InspectorClient(socket);
  }

  /** As `Evaluate` says. Waits while the process is in native code. */
  evaluate(expression: string): Promise<unknown> {
    if (this.#socket.readyState !== this.#socket.OPEN) return Promise.reject(hasClosed());
    this.#id += 1;
    this.#socket.send(encodeEvaluation(this.#id, expression));
    return new Promise((resolve, reject) => this.#asked.set(this.#id, { resolve, reject }));
  }

  /** Has the process close its inspector; resolves once it has, or has ended. */
  async shut(): Promise<void> {
    // The answer is lost with the connection.
    void this.evaluate(shutExpression).catch(() => undefined);
    await this.#closed;
  }

  #onMessage(text: string): void {
    const { id, value } = decodeEvaluation(text);
    this.#asked.get(id)?.resolve(value);
    this.#asked.delete(id);
  }
}

interface Asked {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

const hasClosed = (): Error => new Error("the inspector has closed");
