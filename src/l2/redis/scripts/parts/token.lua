-- The token of a tag, created where missing, and its TTL: `least` to twice that, so that most calls
-- need not prolong it, but none that ends after the nearest mark.
local function token_of(key, marks, candidate, least)
  local token = redis.pcall('SET', key, candidate, 'PX', 2 * least, 'NX', 'GET')
  local ttl = 2 * least
  local ours = type(token) == 'string' and string.match(token, '^%-?%d+$')
  if ours then
    ttl = redis.call('PTTL', key)
    if ttl >= least then return token, ttl end
  else
    if token then redis.call('SET', key, candidate, 'PX', ttl) end
    token = candidate
  end
  local limit = nearest(marks)
  ttl = limit and math.min(ttl, limit) or 2 * least
  redis.call('PEXPIRE', key, ttl)
  return token, ttl
end
