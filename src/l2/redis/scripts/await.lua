#!lua flags=allow-oom
-- How long the lock is held at most: ms, -1 without limit, -2 when it is free. The holder's value gets a
-- 'w', which tells it that somebody waits: locks that nobody waits for are released without a message.
-- KEYS  lock
-- ARGV  '1' to be told
local holder = redis.pcall('GET', KEYS[1])
if not holder then return -2 end
local left = redis.call('PTTL', KEYS[1])
if ARGV[1] == '1' and type(holder) == 'string' and string.sub(holder, -1) ~= 'w' then
  redis.call('SET', KEYS[1], holder .. 'w', 'KEEPTTL')
end
return left
