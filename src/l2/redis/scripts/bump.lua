#!lua flags=allow-oom
-- Drops tokens and announces it. Where a table's column combinations are not those that the writer
-- knows, its condition-bulk token is dropped as well. Takes the writer's marks back.
-- KEYS  the tokens; then for each scheme its set and the condition-bulk token; then for each tag that
--       was marked its token and its marks
-- ARGV  publish command, channel, message, writer, least TTL (ms), number of tokens, of schemes;
--       for each scheme: the known version, the bulk tag as message bytes
-- Returns for each scheme: 1 when the bulk token was dropped, then name, value, ... of its set.
--@ marks
local writer, least, tokens = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local marked = tokens + 2 * tonumber(ARGV[7])
-- unpack takes some thousand values at most.
for first = 1, tokens, 1000 do
  redis.call('DEL', unpack(KEYS, first, math.min(first + 999, tokens)))
end
local message, reply, argument = ARGV[3], {}, 8
for i = tokens + 1, marked, 2 do
  local set = redis.pcall('HGETALL', KEYS[i])
  if set.err then
    redis.call('DEL', KEYS[i])
    set = {}
  end
  local version = '0'
  for j = 1, #set, 2 do
    if set[j] == 'v' then version = set[j + 1] end
  end
  local dropped = 0
  if version == '0' or version ~= ARGV[argument] then
    redis.call('DEL', KEYS[i + 1])
    message = message .. ARGV[argument + 1]
    dropped = 1
  end
  argument = argument + 2
  table.insert(set, 1, dropped)
  reply[#reply + 1] = set
end
for i = marked + 1, #KEYS, 2 do
  redis.pcall('ZREM', KEYS[i + 1], writer)
  local ttl = redis.call('PTTL', KEYS[i])
  -- What was marked and has not changed lives on, or until the next writer's deadline.
  if ttl >= 0 and ttl < least then
    redis.call('PEXPIRE', KEYS[i], nearest(KEYS[i + 1]) or 2 * least)
  end
end
if tokens > 0 or message ~= ARGV[3] then redis.call(ARGV[1], ARGV[2], message) end
return reply
