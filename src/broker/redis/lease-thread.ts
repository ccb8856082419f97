import { setTimeout as sleep } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import type { RedisConnection } from "./connection.ts";
import type { LeaseThreadBirth } from "./lease-keeper.ts";

/** Looks in a row without a sign of life after which the event loop counts as blocked: 1.5 s, a quarter of a lease. */
const blockedAfter = 3;

const { url, address, consumersKey, consumerId, beats, beatMs, longest } = workerData as LeaseThreadBirth;
let id = consumerId;
parentPort?.on("message", (renamed: string) => {
  id = renamed;
});

let link: RedisConnection | undefined;
let seen = -1;
let silent = 0;
for (;;) {
  await sleep(beatMs);
  const beat = Atomics.load(beats, 0);
  silent = beat === seen ? silent + 1 : 0;
  seen = beat;
  const isBlocked = silent >= blockedAfter && (silent * beatMs) / 1000 < longest;
  if (isBlocked)
    await renew().catch(() => drop()); // the next look tries again
  else drop();
}

async function renew(): Promise<void> {
  const { keepLeaseScript, leaseSeconds } = await import("./lease.ts");
  link ??= await connect();
  await link.run(keepLeaseScript, [consumersKey], [id, leaseSeconds]);
}

async function connect(): Promise<RedisConnection> {
  const [{ RedisConnection }, { redisAddress }, { parseBrokerUrl }, { brokerError }] = await Promise.all([
    import("./connection.ts"),
    import("./options.ts"),
    import("../../config/url.ts"),
    import("./errors.ts"),
  ]);
  const parsed = parseBrokerUrl(url);
  if (parsed.transport !== "redis") throw new TypeError("not the URL of a Redis broker");
  return await RedisConnection.open({ address: redisAddress(parsed, url, address), error: brokerError, deadline: 2 });
}

function drop(): void {
  link?.drop();
  link = undefined;
}
