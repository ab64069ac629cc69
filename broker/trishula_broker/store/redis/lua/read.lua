-- What keys hold, for a backup: of each its type, how many members it has and, where those are
-- no more than ARGV[1], the members, as HGETALL, ZRANGE WITHSCORES and SMEMBERS give them.
--
-- KEYS     any of one namespace
local call, most = redis.call, tonumber(ARGV[1])
local COUNT = { hash = 'HLEN', zset = 'ZCARD', set = 'SCARD' }

local found = {}
for i = 1, #KEYS do
  local kind = call('TYPE', KEYS[i]).ok
  local count = COUNT[kind] and call(COUNT[kind], KEYS[i]) or 0
  local members = false
  if COUNT[kind] and count <= most then
    if kind == 'hash' then members = call('HGETALL', KEYS[i])
    elseif kind == 'zset' then members = call('ZRANGE', KEYS[i], 0, -1, 'WITHSCORES')
    else members = call('SMEMBERS', KEYS[i]) end
  end
  found[i] = { kind, count, members }
end
return found
