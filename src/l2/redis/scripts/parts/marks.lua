-- Marks of writers: a sorted set for each tag, of writers and the deadlines of their leases (ms).
local function now()
  local time = redis.call('TIME')
  return 1000 * time[1] + math.floor(time[2] / 1000)
end
-- How long to the nearest deadline of the marks that live, ms; nil: none lives.
local function nearest(marks)
  if redis.call('EXISTS', marks) == 0 then return nil end
  local present = now()
  -- A token is there for the millisecond of its deadline, and so is the mark.
  local first = redis.pcall('ZRANGEBYSCORE', marks, string.format('%d', present), '+inf',
                            'WITHSCORES', 'LIMIT', 0, 1)
  return first[2] and tonumber(first[2]) - present
end
