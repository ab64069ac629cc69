-- Nodes that live, stop and lead: a function an operation; encoding.py has their arguments.
--   nodes   hash: node -> life, role, address, lease_ms, beat_at, since, alive, schema
--   state   "in_runs" is when runs may be made, where nodes that do not know them were there;
--           "leader" is the node that holds the lease, "lead" the last epoch it was given with
local NODES
local LIFE, ROLE, NODE_ADDRESS, NODE_LEASE = 1, 2, 3, 4  -- constants
local BEAT_AT, NODE_SINCE, ALIVE, KNOWS = 5, 6, 7, 8  -- constants
-- The schema of this version, which a node that beats says it knows; those of versions before 4
-- say nothing.
local SCHEMA = 4  -- constant
-- How long all nodes must have known it before what those before cannot read is written, and how
-- long before that those are let in no more: they have said then that they are there, or never will.
local ALIKE_MS, SHUT_MS = 20000, 10000  -- constants

local known_nodes

NAMES[#NAMES + 1] = function() NODES = P .. 'nodes' end
BEGIN[#BEGIN + 1] = function() known_nodes = nil end

local function nodes_by_name()
  if not known_nodes then
    known_nodes = {}
    local found = call('HGETALL', NODES)
    for i = 1, #found, 2 do known_nodes[found[i]] = unpack_blob(found[i + 1]) end
  end
  return known_nodes
end

local function save_node(name, node)
  nodes_by_name()[name] = node
  call('HSET', NODES, name, pack(node))
end

-- Whether it lives as far as can be known.
local function beats(node) return node[ALIVE] and NOW < node[BEAT_AT] + node[NODE_LEASE] end

nodes_alive = function()
  local names = {}
  for name, node in pairs(nodes_by_name()) do
    if beats(node) then names[#names + 1] = name end
  end
  return names
end

local function lease()
  local found = call('HMGET', STATE, 'leader', 'lead')
  return found[1] or '', tonumber(found[2] or 0)
end

-- What an operation of a leader comes back as when `epoch` is not current.
local function fence_lead(epoch)
  local leader, current = lease()
  if leader == '' then current = 0 end
  if epoch ~= current then return { -1, current } end
end

local function end_sessions(node, limit)
  local names = call('ZRANGE', P .. 'n:' .. node, 0, limit)
  for i = 1, #names do end_session(names[i]) end
  return names
end

-- Runs are made once all nodes can read them, and no other can come any more.
local function see_who_knows()
  if args.alike then return end
  local since = tonumber(call('HGET', STATE, 'in_runs') or 0)
  for _, node in pairs(nodes_by_name()) do
    if node[ALIVE] and (node[KNOWS] or 0) < SCHEMA then
      if since > 0 then call('HDEL', STATE, 'in_runs') end
      return
    end
  end
  if since == 0 then
    call('HSET', STATE, 'in_runs', fmt('%d', NOW + ALIKE_MS))
  elseif since - SHUT_MS <= NOW and NOW < since then
    call('HSET', args.schema, 'oldest', SCHEMA)
  end
end

function APPLY.beat(op)
  local name, life, role, address, lease_ms, last = op[2], op[3], op[4], op[5], op[6], op[8]
  local leads = op[7] and not last
  flush()
  -- A clock that was set back gives nobody longer than its lease.
  for other, node in pairs(nodes_by_name()) do
    if node[BEAT_AT] > NOW then
      node[BEAT_AT] = NOW
      save_node(other, node)
    end
  end
  local before = nodes_by_name()[name]
  local member = before and before[ALIVE] and before[LIFE] == life
  if last or not member then end_sessions(name, -1) end
  local since = member and not last and before[NODE_SINCE] or NOW
  local node = { life, role, address, lease_ms, NOW, since, not last, SCHEMA }
  local leader, lead = lease()
  local changed = false
  if leader == name and not (leads and member) then
    leader, changed = '', true  -- given back, or it was an earlier life's
  end
  local holder = nodes_by_name()[leader]
  if leads and leader ~= name and (not holder or not beats(holder)
    or (holder[ROLE] == 'failover' and role == 'primary')) then
    leader, lead, changed = name, lead + 1, true
  end
  if changed then call('HSET', STATE, 'leader', leader, 'lead', lead) end
  save_node(name, node)
  see_who_knows()
  local alone = 1
  for _, other in ipairs(nodes_alive()) do
    if other ~= name then alone = false end
  end
  return { 0, member and 1 or false, leader == name and lead or 0, leader, alone, NOW,
    folder_order() }
end

function APPLY.end_node(op)
  local name, limit = op[2], op[4]
  local fenced = fence_lead(op[3])
  if fenced then return fenced end
  flush()
  local node = nodes_by_name()[name]
  if not node or beats(node) then return { 0, {}, false, false } end
  if node[ALIVE] then
    node[ALIVE], node[NODE_SINCE] = false, NOW
    save_node(name, node)
  end
  local ended = end_sessions(name, limit - 1)
  local first = false
  for i = 1, #ended do
    local at = sweep_at(ended[i])
    if at and (not first or at < first) then first = at end
  end
  return { 0, ended, call('EXISTS', P .. 'n:' .. name), first }
end

function APPLY.tell(op)
  local name, what, only = op[2], op[3], op[4]
  if name then
    local node = node_of(name)
    if node then hint(node, 'tell', what) end
  elseif only ~= '' then
    if nodes_by_name()[only] then hint(only, 'tell', what) end
  else
    for node in pairs(nodes_by_name()) do hint(node, 'tell', what) end
  end
  return { 0 }
end
