import { describe } from "vitest";
import { temporaryFolder } from "../helpers/tmp.ts";
import { killedBetweenSteps } from "./between-steps.ts";
import { throughTriggers } from "./sqlite-steps.ts";

describe("hand-over through the embedded store", () => {
  const files = (broker: string, results: string) => async () => {
    const folder = await temporaryFolder();
    const url = (name: string): string => `sqlite://${folder.file(name)}`;
    return throughTriggers({ TQ_BROKER_URL: url(broker), TQ_RESULT_BACKEND: url(results) }, folder);
  };
  killedBetweenSteps(files("tq.db", "tq.db"), {
    name: "one file",
    inside: true,
    stories: {
      "a success with a callback and a next step": ["acknowledges task + sends link + sends next + stores task"],
      "a failure with an errback and a next step": [
        ...["stores task", "stores rest"],
        "acknowledges task + sends errback",
      ],
      "a retry, and the success it comes to": ["acknowledges task + sends task + stores task"],
      "the members of a chord": [
        ...["stores one", "counts one", "acknowledges one"],
        ...["stores two", "counts two", "acknowledges two + sends link + sends body", "forgets the chord"],
      ],
    },
  });
  killedBetweenSteps(files("broker.db", "results.db"), {
    name: "two files",
    inside: true,
    stories: {
      "the members of a chord": [
        ...["stores one", "counts one", "acknowledges one", "sends link"],
        ...["stores two", "counts two", "sends body", "forgets the chord", "acknowledges two"],
      ],
    },
  });
});
