#!lua flags=allow-oom
-- Deletes entries and the tokens of their keys, and announces it.
-- KEYS  the entries, then as many tokens
-- ARGV  publish command, channel, message
-- Returns how many entries there were.
local entries, found = #KEYS / 2, 0
for first = 1, entries, 1000 do
  found = found + redis.call('UNLINK', unpack(KEYS, first, math.min(first + 999, entries)))
end
for first = entries + 1, #KEYS, 1000 do
  redis.call('DEL', unpack(KEYS, first, math.min(first + 999, #KEYS)))
end
redis.call(ARGV[1], ARGV[2], ARGV[3])
return found
