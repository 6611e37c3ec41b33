#!lua flags=allow-oom
-- Sets an entry's time to live; what was computed for the key before is void, as by put.lua.
-- KEYS  token, entry
-- ARGV  publish command, channel, message, TTL (ms; '': none)
-- Returns 1, or 0 when there is no such entry.
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
if ARGV[4] == '' then
  redis.call('PERSIST', KEYS[2])
else
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
redis.call('DEL', KEYS[1])
redis.call(ARGV[1], ARGV[2], ARGV[3])
return 1
