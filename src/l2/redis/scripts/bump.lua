#!lua flags=allow-oom
-- Drops tokens and announces it. Where a table's column combinations are not those that the writer
-- knows, its condition-bulk token is dropped as well.
-- KEYS  the tokens; then for each scheme its set and the condition-bulk token
-- ARGV  publish command, channel, message, number of tokens;
--       for each scheme: the known version, the bulk tag as message bytes
-- Returns for each scheme: 1 when the bulk token was dropped, then name, value, ... of its set.
local tokens = tonumber(ARGV[4])
-- unpack takes some thousand values at most.
for first = 1, tokens, 1000 do
  redis.call('DEL', unpack(KEYS, first, math.min(first + 999, tokens)))
end
local message, reply, argument = ARGV[3], {}, 5
for i = tokens + 1, #KEYS, 2 do
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
if tokens > 0 or message ~= ARGV[3] then redis.call(ARGV[1], ARGV[2], message) end
return reply
