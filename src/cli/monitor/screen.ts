import terminalKit from "terminal-kit";
import type { Piece, Size } from "./layout.ts";

/**
 * The terminal, taken over in full: the only file that knows terminal-kit. Draws only what has
 * changed since the last time; `close` leaves the terminal as it was.
 */
export class Screen {
  readonly #terminal = terminalKit.terminal;
  #buffer: InstanceType<typeof terminalKit.ScreenBuffer>;

  constructor(options: { readonly onKey: (key: string) => void; readonly onResize: () => void }) {
    this.#terminal.fullscreen(true);
    this.#terminal.hideCursor();
    this.#terminal.grabInput({ mouse: false } as never);
    this.#terminal.on("key", options.onKey);
    this.#terminal.on("resize", () => {
      this.#terminal.clear();
      this.#buffer = this.#newBuffer();
      options.onResize();
    });
    this.#buffer = this.#newBuffer();
  }

  get size(): Size {
    return { width: this.#terminal.width, height: this.#terminal.height };
  }

  draw(pieces: readonly Piece[]): void {
    this.#buffer.fill({ attr: {}, char: " " });
    for (const { x, y, text, style } of pieces) {
      this.#buffer.put({ x, y, attr: { ...style }, wrap: false, dx: 1, dy: 0 }, "%s", text);
    }
    this.#buffer.draw({ delta: true });
  }

  beep(): void {
    this.#terminal.bell();
  }

  async close(): Promise<void> {
    this.#terminal.removeAllListeners("key");
    this.#terminal.removeAllListeners("resize");
    this.#terminal.styleReset();
    this.#terminal.hideCursor(false);
    this.#terminal.fullscreen(false);
    // Answers still on their way from the terminal must not end up in the shell.
    await this.#terminal.grabInput(false, true);
  }

  #newBuffer(): InstanceType<typeof terminalKit.ScreenBuffer> {
    return new terminalKit.ScreenBuffer({ dst: this.#terminal, width: this.size.width, height: this.size.height });
  }
}
