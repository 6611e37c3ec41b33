#!lua
-- Tokens, created where missing, after column combinations have been registered.
-- KEYS  for each scheme its set and the condition-bulk token of its table; then the tokens
-- ARGV  publish command, channel, message head, least TTL (ms), number of schemes;
--       for each scheme: columns, a fresh version, the bulk tag as message bytes;
--       a fresh token for each token key
-- Returns token, TTL for each token key. Keys live up to twice the least TTL, so that most calls
-- need not prolong them.
local least, schemes = tonumber(ARGV[4]), tonumber(ARGV[5])
local dropped = ''
for i = 0, schemes - 1 do
  local set, bulk = KEYS[2 * i + 1], KEYS[2 * i + 2]
  local columns, version, tag = 'c' .. ARGV[3 * i + 6], ARGV[3 * i + 7], ARGV[3 * i + 8]
  local present = redis.pcall('HEXISTS', set, columns)
  if type(present) == 'table' then redis.call('DEL', set) end
  if present ~= 1 then
    -- Entries may exist that were registered in a set since lost; writers will not know of them.
    if redis.call('EXISTS', set) == 0 then
      redis.call('DEL', bulk)
      dropped = dropped .. tag
    end
    redis.call('HSET', set, 'v', version, columns, '')
  end
  if redis.call('PTTL', set) < least then redis.call('PEXPIRE', set, 2 * least) end
end
if dropped ~= '' then redis.call(ARGV[1], ARGV[2], ARGV[3] .. dropped) end
local reply, candidate = {}, 5 + 3 * schemes
for i = 2 * schemes + 1, #KEYS do
  local key = KEYS[i]
  candidate = candidate + 1
  local token = redis.pcall('SET', key, ARGV[candidate], 'PX', 2 * least, 'NX', 'GET')
  local ttl = 2 * least
  if type(token) == 'string' and string.match(token, '^%-?%d+$') then
    ttl = redis.call('PTTL', key)
    if ttl < least then
      ttl = 2 * least
      redis.call('PEXPIRE', key, ttl)
    end
  else
    if token then redis.call('SET', key, ARGV[candidate], 'PX', ttl) end
    token = ARGV[candidate]
  end
  reply[#reply + 1] = token
  reply[#reply + 1] = ttl
end
return reply
