import { parentPort, workerData } from "node:worker_threads";
import { type LeaseThreadBirth, watchLease } from "../lease-watch.ts";
import type { RedisConnection } from "./connection.ts";
import type { AddressOptions } from "./options.ts";

/** What the thread is told at birth. */
export interface RedisLease {
  readonly url: string;
  readonly address: AddressOptions;
  readonly consumersKey: string;
  readonly consumerId: string;
}

const birth = workerData as LeaseThreadBirth & RedisLease;
let id = birth.consumerId;
parentPort?.on("message", (renamed: string) => {
  id = renamed;
});

let link: RedisConnection | undefined;
await watchLease(birth, {
  async renew() {
    const { keepLeaseScript, leaseSeconds } = await import("./lease.ts");
    link ??= await connect();
    await link.run(keepLeaseScript, [birth.consumersKey], [id, leaseSeconds]);
  },
  drop() {
    link?.drop();
    link = undefined;
  },
});

async function connect(): Promise<RedisConnection> {
  const [{ RedisConnection }, { redisAddress }, { parseBrokerUrl }, { brokerError }] = await Promise.all([
    import("./connection.ts"),
    import("./options.ts"),
    import("../../config/url.ts"),
    import("./errors.ts"),
  ]);
  const { url, address } = birth;
  const parsed = parseBrokerUrl(url);
  if (parsed.transport !== "redis") throw new TypeError("not the URL of a Redis broker");
  return await RedisConnection.open({ address: redisAddress(parsed, url, address), error: brokerError, deadline: 2 });
}
