-- Sessions and the directory: a function an operation; encoding.py has their arguments.
--   revoked   hash: "t:<token id>" or "a:<agent>" -> "issued_before until"; until -1 is for ever
local REVOKED
local nodes_alive  -- in nodes.lua

NAMES[#NAMES + 1] = function() REVOKED = P .. 'revoked' end

local function put_name(key, name, yes)
  if yes then call('ZADD', key, 0, name) else call('ZREM', key, name) end
  lists[key] = nil
end

local function put_names(prefix, name, before, after)
  for i = 1, #before do
    if not has(after, before[i]) then put_name(P .. prefix .. before[i], name, false) end
  end
  for i = 1, #after do
    if not has(before, after[i]) then put_name(P .. prefix .. after[i], name, true) end
  end
end

local function save_agent(name, agent)
  agents[name] = agent
  call('HSET', AGENTS, name, pack(agent))
end

-- The session of `name` is now `epoch` at `node`; 0: none.
local function set_live(name, epoch, node)
  local before = live_of(name)
  if before and before[1] > 0 then call('ZREM', P .. 'n:' .. before[2], name) end
  if epoch > 0 then call('ZADD', P .. 'n:' .. node, 0, name) end
  lives[name] = { epoch, node }
  call('HSET', LIVE, name, fmt('%d', epoch) .. ' ' .. node)
end

-- Attempts that were read have ended.
local function end_reads(box)
  flush()
  local found = call('ZRANGEBYLEX', READS, '[' .. box.name .. ':', '(' .. box.name .. ';')
  for i = 1, #found do
    local seq = sub(found[i], #box.name + 2)
    end_attempt(box, seq, copy_at(seq .. ':' .. box.name))
  end
end

-- A session ended that had delivered `seqs`: those nobody read have one more delivery.
local function end_unread(box, seqs)
  local seen = {}
  for i = 1, #seqs do
    local seq = seqs[i]
    local held = not seen[seq] and waiting(box, seq)
    seen[seq] = true
    if held and held[LEASE] == 0 then
      held[DELIVERIES] = held[DELIVERIES] + 1
      changed_copies[seq .. ':' .. box.name] = held
    end
  end
end

-- The session of an agent is over, if there is one.
local function end_session(name)
  local agent, live = agent_of(name), live_of(name)
  end_reads(box_of(name))
  if live[1] > 0 then
    put_names('c:', name, agent[OFFERS], {})
    set_live(name, 0, live[2])
    agent[SINCE] = NOW
    save_agent(name, agent)
  end
  note_absence(name)
end

-- When a sweep has something to do for an agent that left; false: not at all.
local function sweep_at(name)
  local ghost, orphan = absence(name)
  if ghost and orphan then return math.min(ghost, orphan) end
  return ghost or orphan or false
end

-- Its capabilities whose pools hold something.
local function waiting_pools(agent)
  local pools = {}
  for i = 1, #agent[OFFERS] do
    if box_of('@' .. agent[OFFERS][i]).v[COUNT] > 0 then pools[#pools + 1] = agent[OFFERS][i] end
  end
  return pools
end

-- Who was ephemeral is not any more.
local function keep(name, agent)
  agent[EPHEMERAL] = false
  put_name(EVERYONE, name, true)
  call('ZREM', GHOSTS, name)
end

function APPLY.register(op)
  local name, node, receive, ephemeral, lease_ms = op[2], op[3], op[4], op[5], op[6]
  local offers, groups, replaces, unread = op[7], op[8], op[9], op[10]
  flush()
  local agent, live = agent_of(name), live_of(name)
  local new = not agent
  if new then
    agent = { node, ephemeral, lease_ms, NOW, {}, {}, '', false }
    live = { 0, '' }
  end
  local before = live[1] > 0 and agent[OFFERS] or {}
  if offers then
    agent[OFFERS] = offers
    if offers[1] then call('SADD', CAPABILITIES, unpack_list(offers)) end
  end
  if groups then
    put_names('g:', name, agent[GROUPS], groups)
    agent[GROUPS] = groups
  end
  if not ephemeral and agent[EPHEMERAL] then keep(name, agent) end
  local epoch = 0
  if receive then
    local box = box_of(name)
    if replaces > 0 and replaces == live[1] then end_unread(box, unread) end
    last_epoch = math.max(last_epoch, args.epoch) + 1
    state_changed = true
    epoch = last_epoch
    if live[1] > 0 then hint(live[2], 'ended', name, epoch) end
    agent[AT], agent[EPHEMERAL], agent[LEASE_MS], agent[SINCE] = node, ephemeral, lease_ms, NOW
    agent[FOLDER] = op[12] or false
    set_live(name, epoch, node)
    call('ZREM', GHOSTS, name)
    call('ZREM', ORPHANS, name)
    end_reads(box)
  elseif new then
    set_live(name, 0, node)
  end
  if receive or live[1] > 0 then
    put_names('c:', name, before, is_paused(name) and {} or agent[OFFERS])
  end
  if receive or new then put_name(EVERYONE, name, not agent[EPHEMERAL]) end
  save_agent(name, agent)
  if new then note_absence(name) end
  return { 0, epoch, agent[OFFERS], agent[GROUPS], waiting_pools(agent) }
end

function APPLY.introduce(op)
  local name = op[2]
  if live_of(name) then
    local agent = agent_of(name)
    if not agent or not agent[EPHEMERAL] then return { 0, false } end
    flush()
    keep(name, agent)
    save_agent(name, agent)
    return { 0, 1 }
  end
  flush()
  set_live(name, 0, '')
  put_name(EVERYONE, name, true)
  save_agent(name, { '', false, op[3], NOW, {}, {}, '' })
  return { 0, 1 }
end

local function revocation(value)
  local space = find(value, ' ', 1, true)
  return tonumber(sub(value, 1, space - 1)), tonumber(sub(value, space + 1))
end

function APPLY.revoke(op)
  local field, issued_before, ends, told, spare = op[2], op[3], op[4] or -1, op[5], op[6]
  local all = call('HGETALL', REVOKED)
  for i = 1, #all, 2 do
    local _, over = revocation(all[i + 1])
    if over >= 0 and over + spare <= NOW then call('HDEL', REVOKED, all[i]) end
  end
  local before = call('HGET', REVOKED, field)
  if before then
    local known, over = revocation(before)
    issued_before = math.max(issued_before, known)
    ends = (ends < 0 or over < 0) and -1 or math.max(ends, over)
  end
  local value = fmt('%d %d', issued_before, ends)
  call('HSET', REVOKED, field, value)
  local nodes = call('HKEYS', P .. 'nodes')
  for i = 1, #nodes do hint(nodes[i], 'tell', told) end
  return { 0, value ~= before and 1 or false }
end

function APPLY.leave(op)
  local name = op[2]
  local fenced = fence(name, op[3])
  if fenced then return fenced end
  if not agent_of(name) then return { 0, false } end
  end_unread(box_of(name), op[4])
  end_session(name)
  return { 0, sweep_at(name) }
end

function APPLY.update(op)
  local name, status, join, leave = op[2], op[4], op[5], op[6]
  local fenced = fence(name, op[3])
  if fenced then return fenced end
  local agent = agent_of(name)
  if not agent then return { 0, {} } end
  if status then agent[STATUS] = status end
  local groups = {}
  for i = 1, #agent[GROUPS] do
    if agent[GROUPS][i] ~= leave then groups[#groups + 1] = agent[GROUPS][i] end
  end
  if join and join ~= leave and not has(groups, join) then groups[#groups + 1] = join end
  table.sort(groups)
  put_names('g:', name, agent[GROUPS], groups)
  agent[GROUPS] = groups
  save_agent(name, agent)
  return { 0, groups }
end

-- A mailbox that nothing in the log belongs to is nobody's.
local function drop_box(box)
  if call('EXISTS', box.h) == 0 then
    call('HDEL', BOXES, box.name)
    boxes[box.name], changed_boxes[box.name] = nil, nil
  end
end

function APPLY.forget(op)
  local name = op[2]
  local fenced = fence(name, op[3])
  if fenced then return fenced end
  local agent, live = agent_of(name), live_of(name)
  if not agent then return { 0, 0, 1 } end
  if live[1] > 0 and op[3] == 0 then return { -1, live[1] } end
  local box = box_of(name)
  if box.v[COUNT] > 0 then return { 0, box.v[COUNT], false } end
  flush()
  put_names('g:', name, agent[GROUPS], {})
  if live[1] > 0 then put_names('c:', name, agent[OFFERS], {}) end
  put_name(EVERYONE, name, false)
  set_live(name, 0, '')
  call('HDEL', LIVE, name)
  call('HDEL', AGENTS, name)
  agents[name], lives[name] = false, false
  call('ZREM', GHOSTS, name)
  call('ZREM', ORPHANS, name)
  call('HDEL', PAUSED, name)
  call('SREM', RESUMING, name)
  drop_box(box)
  return { 0, 0, false }
end

function APPLY.pause(op)
  local name, on, reason, limit, again = op[2], op[3], op[4], op[5], op[6]
  local agent = agent_of(name)
  if not agent then return { 0, false, {} } end
  flush()
  local before = is_paused(name)
  local resuming = call('SREM', RESUMING, name) == 1
  if again and before and not resuming then return { 0, 1, {}, {}, {}, false, 1 } end
  local where = node_of(name)
  local offers = where and agent[OFFERS] or {}
  local takers, found, more = {}, {}, false
  if on then
    call('HSET', PAUSED, name, reason)
    put_names('c:', name, offers, {})
  elseif before then
    put_names('c:', name, {}, offers)
    for i = 1, #offers do
      local assigned = APPLY.assign({ 'assign', offers[i], limit - #takers })
      for j = 1, #assigned[2] do
        takers[#takers + 1], found[#found + 1] = assigned[2][j], assigned[3][j]
      end
      more = more or assigned[4]
    end
    if more then
      put_names('c:', name, offers, {})
      call('SADD', RESUMING, name)
    else
      call('HDEL', PAUSED, name)
    end
  end
  if where then hint(where, 'look', name) end
  return { 0, 1, {}, takers, found, more, false }
end

-- Whether agents are ordered to their shared folder: "since reason", false when not.
local function folder_order() return call('HGET', STATE, 'folder') end

function APPLY.order_folder(op)
  flush()
  local before, order = folder_order(), false
  if op[2] then
    local since = before and sub(before, 1, find(before, ' ', 1, true) - 1) or fmt('%.0f', NOW)
    order = since .. ' ' .. op[3]
    call('HSET', STATE, 'folder', order)
  elseif before then
    call('HDEL', STATE, 'folder')
  end
  return { 0, order ~= before and 1 or false, order }
end

-- A process opened the store. Where no other node lives, all sessions are over.
function APPLY.arrive(op)
  flush()
  for _, node in ipairs(nodes_alive()) do
    if node ~= op[2] then return { 0, false } end
  end
  call('HSET', STATE, 'ended', 1)
  call('DEL', RESUMING)
  local all = call('HGETALL', LIVE)
  for i = 1, #all, 2 do
    local name = all[i]
    local live = parse_live(name, all[i + 1])
    if live[1] > 0 then
      put_names('c:', name, agent_of(name)[OFFERS], {})
      set_live(name, 0, live[2])
      call('SADD', CUT, name)
    end
  end
  return { 0, 1 }
end

-- The first commit after that: how long they have been away counts from here. Reads outlive no
-- restart, whoever made them.
local function arrived()
  if call('HDEL', STATE, 'ended') == 0 then return end
  local reads = call('ZRANGE', READS, 0, -1)
  for i = 1, #reads do
    local colon = find(reads[i], ':', 1, true)
    local name, seq = sub(reads[i], 1, colon - 1), sub(reads[i], colon + 1)
    end_attempt(box_of(name), seq, copy_at(seq .. ':' .. name))
  end
  flush()
  local cut = call('SMEMBERS', CUT)
  for i = 1, #cut do
    local agent, live = agent_of(cut[i]), live_of(cut[i])
    if agent and live[1] == 0 then
      agent[SINCE] = NOW
      save_agent(cut[i], agent)
      note_absence(cut[i])
    end
  end
  call('DEL', CUT)
end
