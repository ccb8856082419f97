import { describeWith, freshRedis, freshVhost } from "../helpers/services.ts";
import { killedBetweenSteps } from "./between-steps.ts";
import { throughProxies } from "./stop-by-proxy.ts";

const success = ["sends link", "sends next", "stores task", "acknowledges"];

describeWith(["vhost", "redis-server"], "hand-over through RabbitMQ", () => {
  killedBetweenSteps(
    async () => {
      const [vhost, redis] = await Promise.all([freshVhost(), freshRedis()]);
      return throughProxies({ TQ_BROKER_URL: vhost.url, TQ_RESULT_BACKEND: `${redis.url}/0` }, vhost, redis);
    },
    {
      name: "RabbitMQ with results in Redis",
      stories: {
        "a success with a callback and a next step": success,
        "a failure with an errback and a next step": ["stores task", "stores rest", "sends errback", "acknowledges"],
        "a retry, and the success it comes to": [
          ...["sends task", "stores task", "acknowledges"],
          ...["sends link", "stores task", "acknowledges"],
        ],
        "the members of a chord": [
          ...["stores one", "counts one", "acknowledges"],
          ...["sends link", "stores two", "counts two", "sends body", "forgets the chord", "acknowledges"],
        ],
        "the members of a chord of which the last fails": [
          ...["stores one", "counts one", "acknowledges"],
          ...["stores two", "counts two", "stores body", "sends errback", "acknowledges"],
        ],
      },
    },
  );
  killedBetweenSteps(
    async () => {
      const vhost = await freshVhost();
      return throughProxies({ TQ_BROKER_URL: vhost.url, TQ_RESULT_BACKEND: "rpc://" }, vhost);
    },
    { name: "RabbitMQ with results by reply", stories: { "a success with a callback and a next step": success } },
  );
});
