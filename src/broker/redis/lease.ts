import { redisScript } from "./scripts.ts";

/** Seconds a consumer that says nothing counts as alive. */
export const leaseSeconds = 6;

/**
 * Keeps a lease that still lives, and does nothing else.
 *
 * KEYS: consumers. ARGV: consumer id, seconds the lease is good for. Answers 1 while it was good.
 */
export const keepLeaseScript = redisScript(`
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], string.format('%.6f', tonumber(time[1]) + tonumber(time[2]) / 1000000 + tonumber(ARGV[2])), ARGV[1])
return 1
`);
