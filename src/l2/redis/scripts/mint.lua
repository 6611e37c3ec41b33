#!lua
-- Tokens, created where missing, after column combinations have been registered.
-- KEYS  for each scheme its set, and the token and the marks of the condition-bulk tag of its table;
--       then for each tag its token and its marks
-- ARGV  publish command, channel, message head, least TTL (ms), number of schemes;
--       for each scheme: columns, a fresh version, the bulk tag as message bytes;
--       a fresh token for each tag
-- Returns token, TTL for each tag.
--@ marks
--@ token
local least, schemes = tonumber(ARGV[4]), tonumber(ARGV[5])
local message = ''
for i = 0, schemes - 1 do
  local set, bulk, marks = KEYS[3 * i + 1], KEYS[3 * i + 2], KEYS[3 * i + 3]
  local columns, version, tag = 'c' .. ARGV[3 * i + 6], ARGV[3 * i + 7], ARGV[3 * i + 8]
  local present = redis.pcall('HEXISTS', set, columns)
  if type(present) == 'table' then redis.call('DEL', set) end
  if present ~= 1 then
    if redis.call('EXISTS', set) == 0 then
      -- Entries may exist that were registered in a set since lost; writers will not know of them.
      redis.call('DEL', bulk)
      message = message .. tag
    else
      -- Writers that have marked did not know of this combination.
      local limit = nearest(marks)
      if limit and redis.call('PTTL', bulk) > limit then
        redis.call('PEXPIRE', bulk, limit)
        message = message .. tag
      end
    end
    redis.call('HSET', set, 'v', version, columns, '')
  end
  if redis.call('PTTL', set) < least then redis.call('PEXPIRE', set, 2 * least) end
end
if message ~= '' then redis.call(ARGV[1], ARGV[2], ARGV[3] .. message) end
local reply, candidate = {}, 5 + 3 * schemes
for i = 3 * schemes + 1, #KEYS, 2 do
  candidate = candidate + 1
  reply[#reply + 1], reply[#reply + 2] = token_of(KEYS[i], KEYS[i + 1], ARGV[candidate], least)
end
return reply
