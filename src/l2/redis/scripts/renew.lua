#!lua flags=allow-oom
-- Prolongs a lock that is still the owner's.
-- KEYS  lock
-- ARGV  lock owner, lease (ms)
local holder = redis.pcall('GET', KEYS[1])
if holder ~= ARGV[1] and holder ~= ARGV[1] .. 'w' then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
