-- Pools, what time makes due, and dead letters: a function an operation; encoding.py has their
-- arguments.

function APPLY.assign(op)
  local capability, limit = op[2], op[3]
  flush()
  local pool = box_of('@' .. capability)
  local assigned, more = {}, false
  if pool.v[COUNT] > 0 and least_loaded(capability, '') then
    local seqs = call('ZRANGE', pool.q, 0, -1)
    for i = 1, #seqs do
      local taker = least_loaded(capability, message_at(seqs[i])[4][SENDER])
      if taker then
        if #assigned == limit then
          more = true
          break
        end
        local held = copy_at(seqs[i] .. ':' .. pool.name)
        move(pool, seqs[i], held, box_of(taker))
        assigned[#assigned + 1] = { seqs[i], held, taker }
        pointers = pointers + 1
      end
    end
  end
  local found = shown(assigned)
  local takers = {}
  for i = 1, #assigned do
    takers[i] = assigned[i][3]
    hint_mail(takers[i], assigned[i][1], assigned[i][2], found[i][5])
  end
  return { 0, takers, found, more and 1 or false }
end

function APPLY.unassign(op)
  local name = op[2]
  local agent, live = agent_of(name), live_of(name)
  if not agent or live[1] > 0 then return { 0, {}, {} } end
  flush()
  local box = box_of(name)
  local pools, moved, seen = {}, {}, {}
  if box.v[VIAS] > 0 then
    local seqs = call('ZRANGE', box.q, 0, -1)
    for i = 1, #seqs do
      -- Of a run nothing came by a capability.
      local held = not find(seqs[i], '-', 1, true) and copy_at(seqs[i] .. ':' .. name)
      if held and BY_CAPABILITY[held[KIND]] then
        local pool = message_at(seqs[i])[4][ADDRESS]
        if held[LEASE] > 0 then end_attempt(box, seqs[i], held) end
        move(box, seqs[i], held, box_of(pool))
        moved[#moved + 1] = tonumber(seqs[i])
        if not seen[pool] then
          seen[pool] = true
          pools[#pools + 1] = sub(pool, 2)
        end
      end
    end
  end
  table.sort(pools)
  return { 0, pools, moved }
end

-- Entries of others that one sweep passes over at most.
local LOOKS = 2000  -- constant

-- Copies that have expired and concern `node`, behind `after`; up to where it looked, when
-- others may be behind that; when the next one expires.
local function expired_copies(node, whole, after, limit)
  local found, place, offset = {}, nil, 0
  local from = '-inf'
  local behind
  if after then
    from = after[1]
    behind = due_member(after[2], after[3])
  end
  local looked = 0
  while true do
    local part = call('ZRANGEBYSCORE', EXPIRING, from, NOW, 'WITHSCORES', 'LIMIT', offset, limit + 1)
    for i = 1, #part, 2 do
      local member, at = part[i], tonumber(part[i + 1])
      if not (behind and at == after[1] and member <= behind) then
        local colon = find(member, ':', 1, true)
        local seq, name = fmt('%d', tonumber(sub(member, 1, colon - 1))), sub(member, colon + 1)
        local where = node_of(name)
        local concerns = node == '' or where == node or (whole and not where)
        if (concerns and #found == limit) or looked == LOOKS then return found, place end
        looked = looked + 1
        if concerns then found[#found + 1] = { seq, copy_at(seq .. ':' .. name), name } end
        place = { at, tonumber(seq), name }
      end
    end
    if #part < 2 * (limit + 1) then return found, nil end
    offset = offset + limit + 1
  end
end

-- When the next copy that concerns `node` expires. It may be too early by one that does not.
local function next_expiry(node, whole)
  local part = call('ZRANGEBYSCORE', EXPIRING, '(' .. fmt('%d', NOW), '+inf', 'WITHSCORES',
    'LIMIT', 0, 100)
  for i = 1, #part, 2 do
    local where = node_of(sub(part[i], find(part[i], ':', 1, true) + 1))
    if node == '' or where == node or (whole and not where) then return tonumber(part[i + 1]) end
  end
  return part[200] and tonumber(part[200])
end

-- The names in `key` that are due, by name, and when the next one is.
local function due_names(key)
  local now = fmt('%d', NOW)
  local names = call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, LOOKS)
  table.sort(names)
  local later = call('ZRANGEBYSCORE', key, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return names, later[2] and tonumber(later[2])
end

local function first(names, limit)
  local some = {}
  for i = 1, math.min(#names, limit) do some[i] = names[i] end
  return some
end

function APPLY.sweep(op)
  local limit, node, lead, after = op[2], op[3], op[4], op[5]
  if lead > 0 then
    local fenced = fence_lead(lead)
    if fenced then return fenced end
  end
  flush()
  local whole = lead > 0 or node == ''
  local expired, more = expired_copies(node, whole, after, limit)
  local next_at = next_expiry(node, whole) or math.huge
  local orphans, ghosts, pools, dead = {}, {}, {}, {}
  if whole then
    local later
    orphans, later = due_names(ORPHANS)
    next_at = math.min(next_at, later or next_at)
    ghosts, later = due_names(GHOSTS)
    next_at = math.min(next_at, later or next_at)
    local waiting_pools = call('ZRANGE', POOLS, 0, -1)
    for i = 1, #waiting_pools do
      if call('EXISTS', P .. 'c:' .. waiting_pools[i]) == 1 then
        pools[#pools + 1] = waiting_pools[i]
      end
    end
  end
  if more or #orphans > limit or #ghosts > limit then next_at = math.min(next_at, NOW) end
  if lead > 0 then
    for name, other in pairs(nodes_by_name()) do
      if beats(other) then
        next_at = math.min(next_at, other[BEAT_AT] + other[NODE_LEASE])
      elseif other[ALIVE] or call('EXISTS', P .. 'n:' .. name) == 1 then
        dead[#dead + 1] = name
      end
    end
    table.sort(dead)
  end
  local boxes_named = {}
  for i = 1, #expired do boxes_named[i] = expired[i][3] end
  return {
    0, boxes_named, shown(expired), first(orphans, limit), first(ghosts, limit),
    next_at < math.huge and next_at or false, first(pools, limit), first(dead, limit),
    more or false,
  }
end

function APPLY.retry(op)
  local name, seq = op[2], op[3]
  local pool = sub(name, 1, 1) == '@' and call('SISMEMBER', CAPABILITIES, sub(name, 2)) == 1
  local held = (pool or live_of(name)) and copy_at(seq .. ':' .. name)
  if not held or held[SETTLED] == 0 or not is_dead(held) then return { 0 } end
  local box = box_of(name)
  zrem(DEAD, seq .. ':' .. name)
  zrem(P .. 'dead:' .. name, seq)
  held[OUTCOME], held[REASON] = nil, nil
  for i = ATTEMPTS, SETTLED do held[i] = 0 end
  if EXPIRES[held[KIND]] then held[KIND] = held[KIND] - 4 end
  hold(box, seq, held)
  local found = shown({ { seq, held } })
  hint_mail(name, seq, held, found[1][5])
  return { 0, found[1] }
end
