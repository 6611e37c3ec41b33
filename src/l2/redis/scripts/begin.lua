#!lua
-- Before a computation: the token of the entry's key, the lock, and the entry as it is.
-- KEYS  token, entry, lock, the marks of the key's tag
-- ARGV  a fresh token, least TTL (ms), lock owner ('0': no lock), lease (ms)
-- Returns token, its TTL, 1 when the caller holds the lock, entry, its TTL.
--@ marks
--@ token
local token, ttl = token_of(KEYS[1], KEYS[4], ARGV[1], tonumber(ARGV[2]))
local locked = 1
if ARGV[3] ~= '0' and not redis.call('SET', KEYS[3], ARGV[3], 'NX', 'PX', ARGV[4]) then
  -- Held by the caller when this call is a repeated one. What never ends is no lock of ours.
  local holder = redis.pcall('GET', KEYS[3])
  if redis.call('PTTL', KEYS[3]) < 0 then
    redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
  elseif holder ~= ARGV[3] and holder ~= ARGV[3] .. 'w' then
    locked = 0
  end
end
local entry = redis.pcall('GET', KEYS[2])
if type(entry) ~= 'string' then entry = false end
return {token, ttl, locked, entry, redis.call('PTTL', KEYS[2])}
