import { expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { evalInRabbit, type RabbitControl } from "../helpers/rabbit-server.ts";
import { describeWith, freshVhost } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";

describeWith(["amqp", "vhost"], "whoever asks the workers on RabbitMQ", () => {
  test("leaves no reply queue behind, whether anybody answered or not", async () => {
    await using vhost = await freshVhost();
    const control = JSON.parse(process.env.TQ_TEST_RABBITMQ_CONTROL as string) as RabbitControl;
    const replyQueues = async (): Promise<number> => {
      const isReply = `fun(Q) -> {resource, _, _, N} = amqqueue:get_name(Q), string:find(N, "reply") =/= nomatch end`;
      const list = `rabbit_amqqueue:list(<<"${vhost.name}">>)`;
      return Number(await evalInRabbit(control, `length(lists:filter(${isReply}, ${list})).`));
    };
    const env = { TQ_BROKER_URL: vhost.url, TQ_RESULT_BACKEND: "disabled://", TQ_SETTINGS: "{}" };
    {
      await using app = new Tq("asker", { broker: vhost.url });
      // Nobody is there yet: the whole time is waited for, and the queue is there as long.
      const unanswered = app.control.ping({ timeout: 3 });
      await until(async () => (await replyQueues()) > 0);
      expect(await unanswered).toEqual([]);
      await using worker = startWorker({ env, args: ["-P", "solo", "-n", "w1@asked"] });
      await worker.ready();
      await until(async () => (await app.control.ping({ timeout: 1 })).length === 1);
    }
    await until(async () => (await replyQueues()) === 0, { timeout: 15 });
  });
});
