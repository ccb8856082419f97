/**
 * A process of its own on an embedded store, to be killed: `produce` publishes numbered messages
 * and notes each that was confirmed; `consume` notes each it was given, then acknowledges it;
 * `hold` takes messages and keeps them. Notes are lines appended to a file.
 *
 * node sqlite-peer.mjs produce|consume|hold <database> <notes> <name>
 */
import { appendFileSync } from "node:fs";
import { createSqliteBroker } from "../../build/broker/sqlite/broker.js";

const [role, database, notes, name] = process.argv.slice(2);
const broker = createSqliteBroker(`sqlite://${database}`, {
  transportOptions: {},
  connectTimeout: 4,
  maxBodySize: 1e7,
});
const exchange = { name: "work", type: "direct", durable: true };
const common = { durable: true, autoDelete: false, exclusive: false, arguments: {} };
const queue = { name: "work", exchange, routingKey: "work", ...common };

await broker.connect();
await broker.declare(queue);
if (role === "produce") {
  for (let count = 0; ; count += 10) {
    const ids = Array.from({ length: 10 }, (_, index) => `${name}-${count + index}`);
    await Promise.all(ids.map(publish));
  }
} else {
  const subscription = await broker.subscribe({
    node: name,
    prefetch: 20,
    enough: 10,
    onDelivery: receive,
    onLost: (error) => {
      throw error;
    },
  });
  await subscription.consume(queue);
  console.log("ready");
}

async function publish(id) {
  // Some bodies are kept apart from their messages: both ways must hold.
  const body = id.endsWith("7") ? id.padEnd(6000, " ") : id;
  const message = {
    headers: { id },
    properties: {},
    contentType: "text/plain",
    contentEncoding: "utf-8",
    body: Buffer.from(body).toString("base64"),
  };
  await broker.publish(message, { exchange: "work", routingKey: "work" });
  appendFileSync(notes, `${id}\n`);
}

function receive(delivery) {
  appendFileSync(notes, `${Buffer.from(delivery.message.body, "base64").toString().trim()}\n`);
  if (role === "consume") void delivery.ack();
}
