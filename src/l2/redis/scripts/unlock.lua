#!lua flags=allow-oom
-- Releases an entry's lock if it is still the owner's, and wakes those who wait.
-- KEYS  lock
-- ARGV  lock owner, publish command, channel, message
local holder = redis.pcall('GET', KEYS[1])
if holder ~= ARGV[1] and holder ~= ARGV[1] .. 'w' then return 0 end
redis.call('DEL', KEYS[1])
if holder ~= ARGV[1] then redis.call(ARGV[2], ARGV[3], ARGV[4]) end
return 1
