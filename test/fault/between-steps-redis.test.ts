import { describeWith, freshRedis } from "../helpers/services.ts";
import { killedBetweenSteps } from "./between-steps.ts";
import { throughProxies } from "./stop-by-proxy.ts";

describeWith("redis-server", "hand-over through Redis", () => {
  const one = async () => {
    const redis = await freshRedis();
    return throughProxies({ TQ_BROKER_URL: `${redis.url}/0`, TQ_RESULT_BACKEND: `${redis.url}/1` }, redis);
  };
  killedBetweenSteps(one, {
    name: "one Redis",
    allMembers: true,
    stories: {
      "a success with a callback and a next step": ["hands over"],
      "a failure with an errback and a next step": ["stores task", "stores rest", "hands over"],
      "a retry, and the success it comes to": ["hands over", "hands over"],
      "the members of a chord": [
        ...["stores one", "counts one", "acknowledges"],
        ...["stores two", "counts two", "hands over", "forgets the chord"],
      ],
      "the members of a chord of which the last fails": [
        ...["stores one", "counts one", "acknowledges"],
        ...["stores two", "counts two", "stores body", "hands over"],
      ],
    },
  });
  killedBetweenSteps(one, {
    name: "one Redis with early acknowledgement",
    early: true,
    stories: {
      "a success with a callback and a next step": ["acknowledges", "sends link", "sends next", "stores task"],
    },
  });
  killedBetweenSteps(
    async () => {
      const [broker, results] = await Promise.all([freshRedis(), freshRedis()]);
      return throughProxies(
        { TQ_BROKER_URL: `${broker.url}/0`, TQ_RESULT_BACKEND: `${results.url}/0` },
        broker,
        results,
      );
    },
    {
      name: "two Redis servers",
      stories: {
        "the members of a chord": [
          ...["stores one", "counts one", "acknowledges"],
          ...["sends link", "stores two", "counts two", "sends body", "forgets the chord", "acknowledges"],
        ],
      },
    },
  );
});
