import { setTimeout as sleep } from "node:timers/promises";
import type { Tq } from "../../app/app.ts";
import { ImproperlyConfigured } from "../../errors.ts";
import { codename, version } from "../../version.ts";
import { watchEvents } from "../watch-events.ts";
import { layOut, tasksPerPage } from "./layout.ts";
import { Screen } from "./screen.ts";
import { type Action, firstView, onKey, open, repliesOf, type View } from "./view.ts";

/** Seconds between two pictures while events come; keys are shown at once. */
const frame = 0.1;

/** The full-screen monitor: shows a cluster as its events tell of it, until told to stop. */
export async function monitor(app: Tq, stopping: AbortController): Promise<void> {
  if (!process.stdin.isTTY || !process.stdout.isTTY) {
    throw new ImproperlyConfigured("the monitor needs a terminal; use tq events --dump in pipes and logs");
  }
  const running = new Monitor(app, stopping);
  try {
    await running.run();
  } finally {
    await running.close();
  }
}

class Monitor {
  readonly #app: Tq;
  readonly #stopping: AbortController;
  readonly #screen: Screen;
  readonly #state;
  #view: View = firstView;
  #trouble: string | null = null;
  #stale = true;

  constructor(app: Tq, stopping: AbortController) {
    this.#app = app;
    this.#stopping = stopping;
    this.#state = app.events.state();
    this.#screen = new Screen({ onKey: (key) => this.#onKey(key), onResize: () => this.#draw() });
  }

  async run(): Promise<void> {
    const { signal } = this.#stopping;
    const watching = watchEvents(
      this.#app,
      (event) => {
        this.#trouble = null;
        this.#stale = true;
        this.#state.event(event);
      },
      (text) => {
        this.#trouble = text.replace(/\s+/g, " ");
        this.#stale = true;
      },
      signal,
    ).finally(() => this.#stopping.abort());
    watching.catch(() => undefined); // awaited below
    for (let since = 0; !signal.aborted; since += 1) {
      // Once a second also without events: workers fall silent.
      if (this.#stale || since * frame >= 1) {
        this.#draw();
        since = 0;
      }
      await sleep(frame * 1000, undefined, { signal }).catch(() => undefined);
    }
    await watching;
  }

  async close(): Promise<void> {
    await this.#screen.close();
  }

  #draw(): void {
    this.#stale = false;
    const scene = {
      state: this.#state,
      view: this.#view,
      greeting: `tq events ${version} (${codename})`,
      trouble: this.#trouble,
      now: new Date(),
    };
    this.#screen.draw(layOut(scene, this.#screen.size));
  }

  #onKey(key: string): void {
    const { view, action } = onKey(this.#view, key, this.#state, tasksPerPage(this.#screen.size));
    this.#view = view;
    this.#draw();
    void this.#act(action); // tells of its failures on the screen
  }

  async #act(action: Action): Promise<void> {
    const { control } = this.#app;
    switch (action.kind) {
      case "none":
        return;
      case "beep":
        return this.#screen.beep();
      case "quit":
        return this.#stopping.abort();
      case "revoke":
        return await this.#ask(() => control.revoke(action.id, { reply: true }));
      case "rate-limit":
        return await this.#ask(() => control.rateLimit(action.task, action.rate, { reply: true }));
    }
  }

  async #ask(command: () => Promise<readonly Readonly<Record<string, unknown>>[]>): Promise<void> {
    const dialog = await command()
      .then(repliesOf)
      .catch((error: Error) => repliesOf([{ "not sent": { error: error.message } }]));
    this.#view = open(this.#view, dialog).view;
    this.#draw();
  }
}
