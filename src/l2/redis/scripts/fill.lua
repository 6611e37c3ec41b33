#!lua
-- Stores a computed entry while its key's token is the one taken before, and releases the lock.
-- KEYS  token, entry, lock
-- ARGV  token, envelope, TTL (ms), lock owner ('0': no lock), publish command, channel, message
-- Returns 1 when it was stored.
local stored = 0
if redis.call('MGET', KEYS[1])[1] == ARGV[1] then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
  stored = 1
end
if ARGV[4] ~= '0' then
  local holder = redis.pcall('GET', KEYS[3])
  if holder == ARGV[4] then
    redis.call('DEL', KEYS[3])
  elseif holder == ARGV[4] .. 'w' then
    -- Somebody waits: see await.lua.
    redis.call('DEL', KEYS[3])
    redis.call(ARGV[5], ARGV[6], ARGV[7])
  end
end
return stored
