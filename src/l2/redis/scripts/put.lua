#!lua
-- Stores an entry by the user's order: what was computed for the key before is void.
-- KEYS  token, entry
-- ARGV  publish command, channel, message, envelope, TTL (ms; '': none), condition ('', 'NX', 'XX')
-- Returns 1, or 0 when the condition did not hold.
local command = {'SET', KEYS[2], ARGV[4]}
if ARGV[5] ~= '' then
  command[#command + 1] = 'PX'
  command[#command + 1] = ARGV[5]
end
if ARGV[6] ~= '' then command[#command + 1] = ARGV[6] end
if not redis.call(unpack(command)) then return 0 end
redis.call('DEL', KEYS[1])
redis.call(ARGV[1], ARGV[2], ARGV[3])
return 1
