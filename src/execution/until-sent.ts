import type { Call } from "../canvas/plan.ts";

/**
 * The call, to be sent however long the broker is away: the message of a next try or of a
 * follower, which exists nowhere else once its predecessor is acknowledged.
 */
export function untilSent(call: Call): Call {
  const policy = { max_retries: null, interval_start: 0, interval_step: 0.2, interval_max: 2 };
  return { ...call, options: { ...call.options, retry: true, retry_policy: policy } };
}
