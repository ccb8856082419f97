import { isSuccess, plainScript } from "../../broker/redis/scripts.ts";

/**
 * Stores results and tells who waits for them, never replacing a SUCCESS.
 *
 * KEYS: one for each result. ARGV: seconds they are kept (0: for ever), then the values.
 * Answers how many were stored.
 *
 * Whether what is there is a SUCCESS is seen from its beginning, where every Celery writes the
 * status, whatever the serializer. Only a document made by hand, with the keys in another order, is decoded.
 */
export const storeScript = plainScript(`
${isSuccess}
local stored = 0
for i = 1, #KEYS do
  local key, value = KEYS[i], ARGV[i + 1]
  if not isSuccess(key) then
    if ARGV[1] == '0' then
      redis.call('SET', key, value)
    else
      redis.call('SETEX', key, ARGV[1], value)
    end
    redis.call('PUBLISH', key, value)
    stored = stored + 1
  end
end
return stored
`);

/** Sets a value and publishes it under its name. KEYS: the key. ARGV: seconds it is kept (0: for ever), the value. */
export const setScript = plainScript(`
if ARGV[1] == '0' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SETEX', KEYS[1], ARGV[1], ARGV[2])
end
redis.call('PUBLISH', KEYS[1], ARGV[2])
return 1
`);

/**
 * Counts a part of a chord in, once per task, and hands all parts to the one that was the last.
 *
 * KEYS: j, t, s, counted. ARGV: task id, member, score, "1" when ordered, seconds all is kept (0:
 * for ever), a name for this call, seconds after which the one that fired may ask again, how
 * members of this task begin (empty: cannot be told).
 * Answers false, or the parts with their scores (a list's parts without), or seconds after which
 * to ask again.
 *
 * The call's name makes it safe to send again when its answer was lost with the connection. That
 * the one who fired may ask again later makes up for a process that died between being told and
 * sending the body: its task comes again, and without that nobody would ever send it. Where the
 * first one lives it has forgotten the chord by then.
 */
export const chordPartScript = plainScript(`
local j, t, s, counted = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local task, member, score, ordered, seconds = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', ARGV[5]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

local function parts()
  if ordered then return redis.call('ZRANGE', j, 0, -1, 'WITHSCORES') end
  return redis.call('LRANGE', j, 0, -1)
end

if redis.call('HSETNX', counted, 'task:' .. task, '1') == 0 then
  local fired = redis.call('HMGET', counted, 'fired:by', 'fired:call', 'fired:at')
  if fired[1] ~= task or redis.call('EXISTS', s) == 0 then return false end
  local wait = tonumber(fired[3]) + tonumber(ARGV[7]) - now
  if fired[2] ~= ARGV[6] and wait > 0 then return string.format('%.3f', wait) end
  redis.call('HSET', counted, 'fired:call', ARGV[6], 'fired:at', string.format('%.6f', now))
  return parts()
end

local count
if ordered then
  -- A Python worker may have counted this task in already, in other words.
  if ARGV[8] ~= '' then
    for _, other in ipairs(redis.call('ZRANGEBYSCORE', j, score, score)) do
      if string.sub(other, 1, #ARGV[8]) == ARGV[8] then member = other end
    end
  end
  redis.call('ZADD', j, score, member)
  count = redis.call('ZCARD', j)
else
  redis.call('RPUSH', j, member)
  count = redis.call('LLEN', j)
end
local added = tonumber(redis.call('GET', t) or '0')
local size = redis.call('GET', s)
if seconds ~= '0' then
  for _, key in ipairs({j, t, s}) do redis.call('EXPIRE', key, seconds) end
end
redis.call('EXPIRE', counted, seconds ~= '0' and seconds or '604800')
if not size or count ~= tonumber(size) + added then return false end
redis.call('HSET', counted, 'fired:by', task, 'fired:call', ARGV[6], 'fired:at', string.format('%.6f', now))
return parts()
`);

/**
 * Has a chord wait for more parts, once for each name.
 *
 * KEYS: t, counted. ARGV: name, number of parts, seconds all is kept (0: for ever).
 */
export const growChordScript = plainScript(`
if redis.call('HSETNX', KEYS[2], 'added:' .. ARGV[1], '1') == 1 then redis.call('INCRBY', KEYS[1], ARGV[2]) end
if ARGV[3] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
redis.call('EXPIRE', KEYS[2], ARGV[3] ~= '0' and ARGV[3] or '604800')
return 1
`);
