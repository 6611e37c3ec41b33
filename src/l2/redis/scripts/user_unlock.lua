#!lua flags=allow-oom
-- Releases a user's lock if it is still the owner's.
-- KEYS  lock
-- ARGV  lock owner
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
