import { createHash } from "node:crypto";

/** A Lua script Redis runs in one atomic step, known to it by the hash of its text. */
export interface RedisScript {
  readonly text: string;
  readonly sha: string;
  /** The same for servers before Redis 7, which know no flags; null when it has none. */
  readonly older: RedisScript | null;
}

/**
 * A script that may run while memory is full: it moves or frees what is there. Without the flag a
 * full server could not even be drained. Each writes the copy before it removes the original, so
 * one that was refused halfway would have lost nothing.
 */
export function redisScript(body: string): RedisScript {
  return fromText(`#!lua flags=allow-oom\n${body.trim()}`, plainScript(body));
}

/** A script that a server whose memory is full refuses, as it refuses any new value. */
export function plainScript(body: string): RedisScript {
  return fromText(body.trim(), null);
}

/** The same script, working in another database than its caller's, who stays where he is (Redis 2.8.12). */
export function inDatabase(script: RedisScript, db: number): RedisScript {
  const { text } = script;
  const body = text.startsWith("#!") ? text.indexOf("\n") + 1 : 0;
  const older = script.older === null ? null : inDatabase(script.older, db);
  return fromText(`${text.slice(0, body)}redis.call('SELECT', ${db})\n${text.slice(body)}`, older);
}

function fromText(text: string, older: RedisScript | null): RedisScript {
  return { text, sha: createHash("sha1").update(text).digest("hex"), older };
}

const clock = `
local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end
`;

/** Calls a variadic command with any number of arguments; Lua's stack has no room for all at once. */
const inChunks = `
local function inChunks(command, key, args)
  local sum = 0
  for first = 1, #args, 1000 do
    sum = sum + redis.call(command, key, unpack(args, first, math.min(first + 999, #args)))
  end
  return sum
end
`;

/**
 * The envelope out of a value of `unacked`: what stands before the two strings at its end. Read
 * from the end, so that the cost does not grow with the message and no number in it is rounded.
 */
const unwrap = `
local function unwrap(value)
  local stop = #value - 1
  for _ = 1, 2 do
    if string.byte(value, stop) ~= 34 then return nil end
    local at = stop
    repeat
      at = at - 1
      while at > 1 and string.byte(value, at) ~= 34 do at = at - 1 end
      if at <= 1 then return nil end
      local slashes = 0
      while string.byte(value, at - 1 - slashes) == 92 do slashes = slashes + 1 end
    until slashes % 2 == 0
    stop = at - 1
    while string.byte(value, stop) == 32 do stop = stop - 1 end
    if string.byte(value, stop) ~= 44 then return nil end
    stop = stop - 1
    while string.byte(value, stop) == 32 do stop = stop - 1 end
  end
  return string.sub(value, 2, stop)
end
`;

/** Whether the result under a key is a SUCCESS; here because a hand-over writes results too (`backend/redis/scripts.ts`). */
export const isSuccess = `
local function isSuccess(key)
  local start = redis.call('GETRANGE', key, 0, 47)
  if start == '' then return false end
  local status = string.match(start, '^{"status":%s*"(%u+)"')
  if status then return status == 'SUCCESS' end
  local first = string.byte(start)
  if first == 123 then
    local ok, meta = pcall(cjson.decode, redis.call('GET', key))
    return ok and type(meta) == 'table' and meta.status == 'SUCCESS'
  end
  if first == 128 or first >= 129 and first <= 143 or first == 222 then
    local _, key = string.find(start, 'status', 1, true)
    local value = key and string.find(start, 'SUCCESS', key + 1, true)
    return value ~= nil and value - key <= 9
  end
  local text = '\\n' .. redis.call('GET', key) .. '\\n'
  return string.find(text, '\\nstatus: SUCCESS\\n', 1, true) ~= nil
end
`;

/**
 * One turn of a subscription: forgets what was acknowledged, then takes what waits.
 *
 * KEYS: unacked, unacked_index, held, consumers, then the lists: all queues for the first
 * priority step, all for the second, … Where they are many they stand behind the tags instead, and
 * whoever wants changes of them announced reads them himself: with each command that reads, Redis notes
 * every key of the script, which takes it seconds for a thousand queues.
 * ARGV: consumer id, seed for tags, number of acks, room, largest envelope, "1" when deliveries
 * count as settled, "1" when queues take turns, number of queues, the queues' names as JSON, then the tags to forget.
 *
 * Answers [lease, more, tag, queue, envelope, tag, queue, envelope, …]. `lease` is 0 when the
 * consumer's lease was lost: its messages belong to others now, and nothing was done. `more` is 1
 * when room ended before the messages did. Where an envelope is too large its
 * length and its end stand instead, each after a zero byte.
 *
 * Taking is registering first and removing after, in one step: a message is never nowhere. The
 * tag is found without decoding, because any unique text would do, and only near the end: to look
 * through a large message takes Redis seconds, in which it serves nobody. Two live messages with one
 * tag, such as a publish that was retried, get a second name. Lists that were emptied are read once
 * more at the end: Redis forgets that we watch a key when it changes.
 */
export const turnScript = redisScript(`
${clock}
${inChunks}
local unacked, index, held, consumers = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, seed = ARGV[1], ARGV[2]
local acks, room, largest = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local settled, turns, queues = ARGV[6] == '1', ARGV[7] == '1', tonumber(ARGV[8])
local firstAck = 9 + queues
local declared = #KEYS > 4
local answer = {1, 0}

local function list(n)
  return declared and KEYS[4 + n] or ARGV[firstAck + acks - 1 + n]
end

if not settled and not redis.call('ZSCORE', consumers, id) then
  return {0, 0}
end

for first = firstAck, firstAck + acks - 1, 1000 do
  local last = math.min(first + 999, firstAck + acks - 1)
  redis.call('ZREM', index, unpack(ARGV, first, last))
  redis.call('HDEL', unacked, unpack(ARGV, first, last))
  redis.call('ZREM', held, unpack(ARGV, first, last))
end

if room <= 0 or queues == 0 then return answer end

local budget = 4194304

-- The n next messages of a list, the one to be served first in front. Reads in growing steps: what is there may be large.
local function read(key, n)
  local items, step = {}, 1
  while #items < n and budget > 0 do
    local from = #items
    local part = redis.call('LRANGE', key, -(from + math.min(step, n - from)), -(from + 1))
    local size = 1
    for i = #part, 1, -1 do
      items[#items + 1] = part[i]
      budget = budget - #part[i]
      if #part[i] > size then size = #part[i] end
    end
    step = math.max(1, math.min(64, math.floor(262144 / size)))
  end
  return items
end

-- How many each list gives: an equal share, and what one has not goes to the others.
local function share(lengths, room)
  local gives, open = {}, {}
  for q = 1, #lengths do
    gives[q] = 0
    if lengths[q] > 0 then open[#open + 1] = q end
  end
  while room > 0 and #open > 0 do
    local each = turns and math.max(1, math.floor(room / #open)) or room
    local still = {}
    for _, q in ipairs(open) do
      local n = math.min(each, lengths[q] - gives[q], room)
      gives[q] = gives[q] + n
      room = room - n
      if gives[q] < lengths[q] then still[#still + 1] = q end
    end
    open = still
  end
  return gives
end

local envelopes, from, trims, touched = {}, {}, {}, {}
local steps = (declared and #KEYS - 4 or #ARGV - firstAck - acks + 1) / queues
local waiting = 0
for s = 0, steps - 1 do
  local lengths, total = {}, 0
  for q = 1, queues do
    lengths[q] = redis.call('LLEN', list(s * queues + q))
    total = total + lengths[q]
  end
  waiting = waiting + total
  if total > 0 and room > #envelopes and budget > 0 then
    local gives = share(lengths, room - #envelopes)
    local parts, most = {}, 0
    for q = 1, queues do
      if gives[q] > 0 then
        local key = list(s * queues + q)
        parts[q] = read(key, gives[q])
        trims[#trims + 1] = {key, #parts[q]}
        most = math.max(most, #parts[q])
      end
    end
    if turns then
      for i = 1, most do
        for q = 1, queues do
          if parts[q] and parts[q][i] then
            envelopes[#envelopes + 1] = parts[q][i]
            from[#from + 1] = q
          end
        end
      end
    else
      for q = 1, queues do
        for i = 1, parts[q] and #parts[q] or 0 do
          envelopes[#envelopes + 1] = parts[q][i]
          from[#from + 1] = q
        end
      end
    end
  end
end
if #envelopes == 0 then return answer end

local tags = {}
if not settled then
  local now = clock()
  local scores = {}
  for i = 1, #envelopes do
    local envelope = envelopes[i]
    local tag = string.match(envelope, '"delivery_tag": ?"([%w-]+)"}}$', -80)
      or string.match(string.sub(envelope, -4096), '"delivery_tag"%s*:%s*"([%w_.:-]+)"')
    if not tag or #tag > 200 then tag = seed .. i end
    tags[i] = tag
    scores[2 * i - 1] = string.format('%.6f', now + i * 0.000001)
    scores[2 * i] = tag
  end
  local added = 0
  for first = 1, #scores, 1000 do
    added = added + redis.call('ZADD', index, 'NX', unpack(scores, first, math.min(first + 999, #scores)))
  end
  if added < #envelopes then
    local seen = {}
    for i = 1, #envelopes do
      local tag = tags[i]
      if seen[tag] or redis.call('HEXISTS', unacked, tag) == 1 then
        tag = seed .. i
        tags[i] = tag
        scores[2 * i] = tag
      end
      seen[tag] = true
      redis.call('ZADD', index, scores[2 * i - 1], tag)
    end
  end
  local values, suffixes = {}, {}
  for q = 1, queues do suffixes[q] = ', "", ' .. ARGV[8 + q] .. ']' end
  for i = 1, #envelopes do
    values[2 * i - 1] = tags[i]
    values[2 * i] = '[' .. envelopes[i] .. suffixes[from[i]]
  end
  inChunks('HSET', unacked, values)
  inChunks('ZADD', held, scores)
end

for _, trim in ipairs(trims) do
  redis.call('LTRIM', trim[1], 0, -(trim[2] + 1))
end
if #envelopes < waiting then
  answer[2] = 1
end
for _, trim in ipairs(trims) do
  redis.call('LLEN', trim[1])
end
for i = 1, #envelopes do
  local at = 3 * i
  answer[at] = tags[i] or ''
  answer[at + 1] = from[i]
  local envelope = envelopes[i]
  answer[at + 2] = #envelope > largest and '\\0' .. #envelope .. '\\0' .. string.sub(envelope, -65536) or envelope
end
return answer
`);

/**
 * Renews a lease, takes over that of a dead consumer, and tells what time it is.
 *
 * KEYS: consumers, parked, tended. ARGV: consumer id, seconds the lease is good for, "1" to begin
 * it, id for what is taken over (empty: take nothing over), prefix of held sets.
 * Answers [1 while the lease was good, now, when the next parked message is due, id taken over].
 *
 * Nobody is taken for dead before somebody has tended here for as long as a lease lasts without a
 * gap: after an outage that hit all, each gets the time to come back and renew his own.
 *
 * Whoever takes over renames the dead one's set, so that the dead one, should it only have
 * slept, finds in one look that all it held is gone. The new name has a lease too: if its taker dies, the next one comes.
 */
export const tendScript = redisScript(`
${clock}
local consumers, parked, tended = KEYS[1], KEYS[2], KEYS[3]
local id, seconds, orphan, heldPrefix = ARGV[1], tonumber(ARGV[2]), ARGV[4], ARGV[5]
local now = clock()
local good = redis.call('ZSCORE', consumers, id) and 1 or 0
if good == 1 or ARGV[3] == '1' then
  redis.call('ZADD', consumers, string.format('%.6f', now + seconds), id)
end
local before = redis.call('HMGET', tended, 'since', 'last')
local since, last = tonumber(before[1] or now), tonumber(before[2] or 0)
if now - last > seconds / 2 then since = now end
redis.call('HSET', tended, 'since', string.format('%.6f', since), 'last', string.format('%.6f', now))
local taken = ''
if orphan ~= '' and now - since >= seconds then
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', consumers, '-inf', now, 'LIMIT', 0, 16)) do
    if dead ~= id then
      local orphaned = redis.call('EXISTS', heldPrefix .. dead) == 1
      if orphaned then
        redis.call('RENAME', heldPrefix .. dead, heldPrefix .. orphan)
        redis.call('ZADD', consumers, string.format('%.6f', now + seconds), orphan)
        taken = orphan
      end
      redis.call('ZREM', consumers, dead)
      if orphaned then break end
    end
  end
end
local due = redis.call('ZRANGE', parked, 0, 0, 'WITHSCORES')
return {good, string.format('%.6f', now), due[2] or '', taken}
`);

/**
 * Makes what a consumer holds young again, so that neither kombu's restore nor ours takes it for forgotten.
 *
 * KEYS: unacked_index, held. ARGV: first and last rank. Answers how many of these ranks there are.
 */
export const renewScript = redisScript(`
${clock}
local tags = redis.call('ZRANGE', KEYS[2], ARGV[1], ARGV[2])
local now = clock()
for first = 1, #tags, 500 do
  local args = {}
  for i = first, math.min(first + 499, #tags) do
    args[#args + 1] = string.format('%.6f', now + i * 0.000001)
    args[#args + 1] = tags[i]
  end
  redis.call('ZADD', KEYS[1], 'XX', unpack(args))
end
return #tags
`);

/**
 * Parks messages until they are due. The entry in `unacked` stays and gets the due time as its
 * age: should no tq worker ever come back, kombu's restore finds it there.
 *
 * KEYS: unacked_index, held, consumers, parked. ARGV: consumer id, then tag, due, member for each.
 * Answers [how many were parked, now, when the next of all parked is due].
 */
export const parkScript = redisScript(`
${clock}
local index, held, parked = KEYS[1], KEYS[2], KEYS[4]
local parkedNow = 0
if redis.call('ZSCORE', KEYS[3], ARGV[1]) then
  for i = 2, #ARGV, 3 do
    if redis.call('ZSCORE', held, ARGV[i]) then
      redis.call('ZADD', parked, ARGV[i + 1], ARGV[i + 2])
      redis.call('ZADD', index, 'XX', ARGV[i + 1], ARGV[i])
      redis.call('ZREM', held, ARGV[i])
      parkedNow = parkedNow + 1
    end
  end
end
local due = redis.call('ZRANGE', parked, 0, 0, 'WITHSCORES')
return {parkedNow, string.format('%.6f', clock()), due[2] or ''}
`);

/**
 * Puts parked messages that are due back at the head of their lists, the earliest first in line,
 * unchanged. One that somebody restored meanwhile has another age, and is left to whoever has it.
 *
 * KEYS: unacked, unacked_index, parked. ARGV: how many at most.
 * Answers [how many were due, now, when the next is due].
 */
export const wakeScript = redisScript(`
${clock}
${unwrap}
local unacked, index, parked = KEYS[1], KEYS[2], KEYS[3]
local now = clock()
local due = redis.call('ZRANGEBYSCORE', parked, '-inf', now, 'WITHSCORES', 'LIMIT', 0, tonumber(ARGV[1]))
for i = #due - 1, 1, -2 do
  local tag, list = string.match(due[i], '^([^\\n]*)\\n(.*)$')
  if tag and redis.call('ZSCORE', index, tag) == due[i + 1] then
    local value = redis.call('HGET', unacked, tag)
    local envelope = value and unwrap(value)
    if envelope then
      redis.call('RPUSH', list, envelope)
      redis.call('HDEL', unacked, tag)
      redis.call('ZREM', index, tag)
    end
  end
  redis.call('ZREM', parked, due[i])
end
local next = redis.call('ZRANGE', parked, 0, 0, 'WITHSCORES')
return {#due / 2, string.format('%.6f', now), next[2] or ''}
`);

/**
 * Reads parked messages of some lists, the soonest due first. A body before everything else, where
 * kombu and tq write it, is left out of a value that is larger than is shown; what is too large even then is passed over.
 *
 * KEYS: unacked, unacked_index, parked. ARGV: first and last place looked at, how many at most,
 * largest value with its body, largest without, then the lists.
 * Answers [how many were looked at, then due, list, value of `unacked` for each].
 */
export const readParkedScript = redisScript(`
local unacked, index, parked = KEYS[1], KEYS[2], KEYS[3]
local most, whole, bare = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local wanted = {}
for i = 6, #ARGV do wanted[ARGV[i]] = true end
local members = redis.call('ZRANGE', parked, ARGV[1], ARGV[2], 'WITHSCORES')
local answer = {#members / 2}
local found = 0
for i = 1, #members, 2 do
  local tag, list = string.match(members[i], '^([^\\n]*)\\n(.*)$')
  if found < most and tag and wanted[list] and redis.call('ZSCORE', index, tag) == members[i + 1] then
    local value = redis.call('HGET', unacked, tag)
    if value and #value > whole then
      local after = string.match(value, '^%[{"body": ?"[^"]*()"')
      value = after and #value - after <= bare and '[{"body": "' .. string.sub(value, after) or nil
    end
    if value then
      found = found + 1
      answer[#answer + 1] = members[i + 1]
      answer[#answer + 1] = list
      answer[#answer + 1] = value
    end
  end
end
return answer
`);

/**
 * The ids a message may be known by. They stand in its headers and properties; the body is passed over, where
 * that comes first. Headers of a user's own may have an `id` too: who looks for a task's takes any of them.
 */
const idsOf = `
local function idsOf(value, add)
  local from = string.find(value, '"headers":', 1, true)
  local rest = from and string.sub(value, from) or value
  for id in string.gmatch(rest, '"id": ?"([^"\\\\]+)"') do add(id) end
  for id in string.gmatch(rest, '"correlation_id": ?"([^"\\\\]+)"') do add(id) end
end
`;

/** Bytes looked through in one step, in which Redis serves nobody else. */
const searchBudget = 4 << 20;

/**
 * Looks through a list from its newest message on. KEYS: the list. ARGV: place to begin at, how many at most.
 * Answers how many were looked at, 0 at the end of the list, then the ids they may be known by.
 */
export const searchListScript = redisScript(`
${idsOf}
local from, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local answer, looked, size, step = {0}, 0, 0, 1
while looked < most and size < ${searchBudget} do
  local part = redis.call('LRANGE', KEYS[1], from + looked, from + looked + math.min(step, most - looked) - 1)
  if #part == 0 then break end
  local largest = 1
  for _, value in ipairs(part) do
    idsOf(value, function(id) answer[#answer + 1] = id end)
    size = size + #value
    largest = math.max(largest, #value)
  end
  looked = looked + #part
  step = math.max(1, math.min(64, math.floor(262144 / largest)))
end
answer[1] = looked
return answer
`);

/**
 * Looks through fields of a hash. KEYS: the hash. ARGV: the fields. Answers how many were looked at, then a field
 * and an id its message may be known by, and so on.
 */
export const searchHashScript = redisScript(`
${idsOf}
local answer, looked, size = {0}, 0, 0
while looked < #ARGV and size < ${searchBudget} do
  looked = looked + 1
  local value = redis.call('HGET', KEYS[1], ARGV[looked])
  if value then
    size = size + #value
    idsOf(value, function(id)
      answer[#answer + 1] = ARGV[looked]
      answer[#answer + 1] = id
    end)
  end
end
answer[1] = looked
return answer
`);

/**
 * Who has what is registered under tags. KEYS: unacked, unacked_index, parked, consumers, tended. ARGV: prefix of
 * held sets, then tags.
 * Answers [now, since when and when last somebody tended, consumer, end of its lease, … ], a list of
 * its own for the consumers, then for each tag: age (empty: nothing is registered), consumer that holds it (empty: none),
 * "1" when it is parked, end of the value.
 */
export const whoHoldsScript = redisScript(`
${clock}
local unacked, index, parked, consumers = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local tended = redis.call('HMGET', KEYS[5], 'since', 'last')
local leases = redis.call('ZRANGE', consumers, 0, -1, 'WITHSCORES')
local answer = {string.format('%.6f', clock()), tended[1] or '', tended[2] or '', leases}
for i = 2, #ARGV do
  local tag = ARGV[i]
  local age = redis.call('ZSCORE', index, tag) or ''
  local value = redis.call('HGET', unacked, tag)
  local holder, isParked = '', ''
  for at = 1, #leases, 2 do
    if redis.call('ZSCORE', ARGV[1] .. leases[at], tag) then holder = leases[at] end
  end
  if age ~= '' then
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', parked, age, age)) do
      if string.sub(member, 1, #tag + 1) == tag .. '\\n' then isParked = '1' end
    end
  end
  answer[#answer + 1] = value and age or ''
  answer[#answer + 1] = holder
  answer[#answer + 1] = isParked
  answer[#answer + 1] = value and string.sub(value, -4096) or ''
end
return answer
`);

/**
 * Reads what is registered under tags. KEYS: unacked, unacked_index. ARGV: largest value to send
 * whole, then tags. Answers for each: age, size (-1 when nothing is registered), value or, of larger ones, its end.
 */
export const readScript = redisScript(`
local answer = {}
for i = 2, #ARGV do
  local value = redis.call('HGET', KEYS[1], ARGV[i])
  answer[#answer + 1] = redis.call('ZSCORE', KEYS[2], ARGV[i]) or ''
  answer[#answer + 1] = value and #value or -1
  if value and #value > tonumber(ARGV[1]) then value = string.sub(value, -4096) end
  answer[#answer + 1] = value or ''
end
return answer
`);

/**
 * Puts messages back into lists: only those that are as old as they were when they were read, so
 * that what somebody else restored and took meanwhile stays his.
 *
 * KEYS: unacked, unacked_index, held. ARGV: RPUSH or LPUSH, then for each: tag, age (empty:
 * whatever it is, when the consumer holds it), envelope (empty: as it is stored), number of
 * lists, the lists. Answers how many were put back.
 */
export const returnScript = redisScript(`
${unwrap}
local unacked, index, held = KEYS[1], KEYS[2], KEYS[3]
local push, at, returned = ARGV[1], 2, 0
while at < #ARGV do
  local tag, age, envelope, lists = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local mine = age == '' and redis.call('ZSCORE', held, tag) or redis.call('ZSCORE', index, tag) == age
  if mine then
    local value = redis.call('HGET', unacked, tag)
    if value then
      if envelope == '' then envelope = unwrap(value) or value end
      for i = 1, lists do redis.call(push, ARGV[at + 3 + i], envelope) end
      redis.call('HDEL', unacked, tag)
      redis.call('ZREM', index, tag)
      returned = returned + 1
    end
  end
  redis.call('ZREM', held, tag)
  at = at + 4 + lists
end
return returned
`);

/**
 * Moves a message into the dead-letter store.
 *
 * KEYS: unacked, unacked_index, held, dead, dead:about, dead:index. ARGV: tag, age (empty: whatever
 * it is, when the consumer holds it), id of the entry, what is said about it, most entries kept (0: any number).
 * Answers 1 when it was there.
 */
export const buryScript = redisScript(`
${clock}
${unwrap}
local tag, age = ARGV[1], ARGV[2]
local mine = age == '' and redis.call('ZSCORE', KEYS[3], tag) or redis.call('ZSCORE', KEYS[2], tag) == age
local value = mine and redis.call('HGET', KEYS[1], tag)
if not value then
  redis.call('ZREM', KEYS[3], tag)
  return 0
end
redis.call('HSET', KEYS[4], ARGV[3], unwrap(value) or value)
redis.call('HSET', KEYS[5], ARGV[3], ARGV[4])
redis.call('ZADD', KEYS[6], string.format('%.6f', clock()), ARGV[3])
redis.call('HDEL', KEYS[1], tag)
redis.call('ZREM', KEYS[2], tag)
redis.call('ZREM', KEYS[3], tag)
local most = tonumber(ARGV[5])
local tooMany = most > 0 and math.min(redis.call('ZCARD', KEYS[6]) - most, 100) or 0
if tooMany > 0 then
  for _, old in ipairs(redis.call('ZRANGE', KEYS[6], 0, tooMany - 1)) do
    redis.call('HDEL', KEYS[4], old)
    redis.call('HDEL', KEYS[5], old)
    redis.call('ZREM', KEYS[6], old)
  end
end
return 1
`);

/**
 * Reads dead letters. KEYS: dead, dead:about. ARGV: largest to send whole, how much of larger ones, then ids.
 * Answers for each: about, size, envelope or its beginning.
 */
export const readDeadScript = redisScript(`
local answer = {}
for i = 3, #ARGV do
  local about = redis.call('HGET', KEYS[2], ARGV[i])
  local envelope = redis.call('HGET', KEYS[1], ARGV[i])
  if about and envelope then
    local size = #envelope
    if size > tonumber(ARGV[1]) then envelope = string.sub(envelope, 1, tonumber(ARGV[2])) end
    answer[#answer + 1] = ARGV[i]
    answer[#answer + 1] = about
    answer[#answer + 1] = size
    answer[#answer + 1] = envelope
  end
end
return answer
`);

/**
 * Puts a dead letter back into its list, behind what waits. KEYS: dead, dead:about, dead:index, list.
 * ARGV: id, envelope (empty: as it is stored). Answers 1 when it was there.
 */
export const redriveScript = redisScript(`
local envelope = redis.call('HGET', KEYS[1], ARGV[1])
if not envelope then return 0 end
redis.call('LPUSH', KEYS[4], ARGV[2] ~= '' and ARGV[2] or envelope)
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return 1
`);

/** Lets go of kombu's restore lock if it is still ours. KEYS: unacked_mutex. ARGV: token. */
export const unlockScript = redisScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
`);

/**
 * Hands over what tasks leave behind, each in one step: stores the result, publishes what follows,
 * forgets the message.
 *
 * KEYS: unacked, unacked_index, held. ARGV: database of the messages, then for each task: tag (empty: it was
 * acknowledged before), marker (empty: the tag is the marker), key of the result (empty: none),
 * its database, seconds it is kept (0: for ever), the result, number of sendings, and for each
 * the command, the key and the message.
 * Answers for each 1, or 0 when nothing was done: the message is somebody else's by now, or all was done before.
 *
 * The message goes last: an error halfway leaves it, and the task runs again.
 */
export const handOverScript = plainScript(`
${isSuccess}
local home = ARGV[1]
local answer, at = {}, 2
while at <= #ARGV do
  local tag, marker, key, db, seconds, value = unpack(ARGV, at, at + 5)
  local sendings = tonumber(ARGV[at + 6])
  local mine
  if tag ~= '' then
    mine = redis.call('ZSCORE', KEYS[3], tag) and true or false
  else
    mine = redis.call('SET', marker, '1', 'NX', 'EX', 600) and true or false
  end
  if mine then
    for i = 1, sendings do
      local command = at + 4 + 3 * i
      redis.call(ARGV[command], ARGV[command + 1], ARGV[command + 2])
    end
    if key ~= '' then
      if db ~= home then redis.call('SELECT', db) end
      if not isSuccess(key) then
        if seconds == '0' then redis.call('SET', key, value) else redis.call('SETEX', key, seconds, value) end
        redis.call('PUBLISH', key, value)
      end
      if db ~= home then redis.call('SELECT', home) end
    end
    if tag ~= '' then
      redis.call('ZREM', KEYS[2], tag)
      redis.call('HDEL', KEYS[1], tag)
      redis.call('ZREM', KEYS[3], tag)
    end
  end
  answer[#answer + 1] = mine and 1 or 0
  at = at + 7 + 3 * sendings
end
return answer
`);

/**
 * Puts messages into the queues that are bound to a direct exchange under their routing keys. One
 * round trip: to answer a command costs no more than to take a task.
 *
 * KEYS: the binding set. ARGV: the separator, what stands before every list, then for each message
 * its routing key, what stands behind the list of its priority, and its text.
 * Answers for each the number of queues; nil, and puts nothing anywhere, where a binding has a pattern.
 */
export const routeScript = plainScript(`
local separator, prefix = ARGV[1], ARGV[2]
local queues = {}
for _, member in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local parts, from = {}, 1
  repeat
    local first, last = string.find(member, separator, from, true)
    parts[#parts + 1] = string.sub(member, from, (first or 0) - 1)
    from = (last or 0) + 1
  until not first
  local key, pattern, queue = parts[1], parts[2] or '', parts[3] or ''
  if queue ~= '' then
    if pattern ~= '' then return false end
    queues[key] = queues[key] or {}
    queues[key][queue] = true
  end
end
local answer = {}
for at = 3, #ARGV, 3 do
  local count = 0
  for queue in pairs(queues[ARGV[at]] or {}) do
    redis.call('LPUSH', prefix .. queue .. ARGV[at + 1], ARGV[at + 2])
    count = count + 1
  end
  answer[#answer + 1] = count
end
return answer
`);
