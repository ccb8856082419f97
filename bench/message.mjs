// Messages as Celery's own client writes them, and a stroke that releases many at once.
import { randomUUID } from "node:crypto";

/** One call as an envelope, of bench.noop unless another is named; its id too. */
export function envelope(n, { task = "bench.noop", args = [n], argsrepr = `(${n},)` } = {}) {
  const id = randomUUID();
  const headers = {
    lang: "py",
    task,
    id,
    shadow: null,
    eta: null,
    expires: null,
    group: null,
    group_index: null,
    retries: 0,
    timelimit: [null, null],
    root_id: id,
    parent_id: null,
    argsrepr,
    kwargsrepr: "{}",
    origin: "gen1@bench",
    ignore_result: false,
    replaced_task_nesting: 0,
    stamped_headers: null,
    stamps: {},
  };
  const body = Buffer.from(JSON.stringify([args, {}, { callbacks: null, errbacks: null, chain: null, chord: null }]));
  const properties = {
    correlation_id: id,
    reply_to: randomUUID(),
    delivery_mode: 2,
    delivery_info: { exchange: "", routing_key: "celery" },
    priority: 0,
    body_encoding: "base64",
    delivery_tag: randomUUID(),
  };
  const text = JSON.stringify({
    body: body.toString("base64"),
    "content-encoding": "utf-8",
    "content-type": "application/json",
    headers,
    properties,
  });
  return { id, text };
}

/** Fills a list beside the queue. Resolves to the id of the message served last. */
export async function prepare(redis, count, call = {}) {
  let last;
  for (let done = 0; done < count; done += 1000) {
    const batch = Array.from({ length: Math.min(1000, count - done) }, (_, i) => envelope(done + i, call));
    last = batch.at(-1).id;
    await redis.lpush("prepared", ...batch.map(({ text }) => text));
  }
  return last;
}

/** The prepared messages become the queue, in one stroke; one more wakes who blocks on the list. */
export async function release(redis) {
  await redis.multi().rename("prepared", "celery").lpush("celery", envelope(-1).text).exec();
}
