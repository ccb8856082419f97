import type { Tq } from "../app/app.ts";
import { BeatService, beatParts } from "../beat/service.ts";
import type { Logger } from "../log.ts";
import type { Service } from "../util/service.ts";

export interface EmbeddedBeatParts {
  readonly app: Tq;
  readonly logger: Logger;
  /** `-s`. */
  readonly schedule: string | undefined;
  /** It cannot go on. */
  readonly onFatal: (error: Error) => void;
}

/** `-B`: beat as a part of one worker, in its main process. The one place where the two daemons meet. */
export function embeddedBeat({ app, logger, schedule, onFatal }: EmbeddedBeatParts): Service {
  const parts = beatParts(app, logger, { schedule });
  const beat = new BeatService(parts);
  return {
    name: "embedded-beat",
    async start() {
      logger.info("beat: Starting...");
      await app.signals.send("beatEmbeddedInit", { schedule: parts.store.place });
      await beat.start();
      beat.ended.catch(onFatal);
    },
    async stop() {
      await beat.stop();
    },
  };
}
