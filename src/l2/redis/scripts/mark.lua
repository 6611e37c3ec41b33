#!lua flags=allow-oom
-- Marks tags: a writer is about to commit a change of them, or goes on meaning to. The present tokens
-- end with the nearest of their marks, sooner or later than before.
-- KEYS  for each tag its token and its marks; then for each scheme its set, and the token and the
--       marks of the condition-bulk tag
-- ARGV  publish command, channel, message, writer, lease (ms), number of tags;
--       for each scheme: the known version, the bulk tag as message bytes
--@ marks
local writer, lease, tags = ARGV[4], tonumber(ARGV[5]), 2 * tonumber(ARGV[6])
local present = now()
local function mark(marks)
  local over = redis.pcall('ZREMRANGEBYSCORE', marks, '-inf', string.format('(%d', present))
  if type(over) == 'table' then redis.call('DEL', marks) end
  redis.call('ZADD', marks, present + lease, writer)
  if redis.call('PTTL', marks) < lease then redis.call('PEXPIRE', marks, lease) end
end
-- Whether it ends sooner than before, which others have to hear of.
local function adjust(token, marks)
  local ttl = redis.call('PTTL', token)
  if ttl == -2 then return false end
  redis.call('PEXPIRE', token, nearest(marks))
  return ttl > lease or ttl == -1
end
local sooner = false
for i = 1, tags, 2 do
  mark(KEYS[i + 1])
  sooner = adjust(KEYS[i], KEYS[i + 1]) or sooner
end
local message, argument = ARGV[3], 7
for i = tags + 1, #KEYS, 3 do
  mark(KEYS[i + 2])
  local version = redis.pcall('HGET', KEYS[i], 'v')
  if version ~= ARGV[argument] then
    sooner = adjust(KEYS[i + 1], KEYS[i + 2]) or sooner
    message = message .. ARGV[argument + 1]
  end
  argument = argument + 2
end
if sooner then redis.call(ARGV[1], ARGV[2], message) end
return 1
