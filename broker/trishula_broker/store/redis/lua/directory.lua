-- Who there is.
--   agents            hash: agent -> node, ephemeral, lease_ms, since, capabilities, groups, status,
--                     folder
--   live              hash: agent -> "epoch node"; epoch 0 is offline. What most operations need
--   everyone          sorted set of score 0: agents that get broadcasts
--   g:<group>         sorted set of score 0: its members
--   c:<capability>    sorted set of score 0: agents that are online, not paused, and offer it
--   paused            hash: agent whose mail is not handed out -> why
--   resuming          set: those of them that go on once they have what waits for their capabilities
--   capabilities      set: all that were ever offered
--   n:<node>          sorted set of score 0: agents that are online there
--   ghosts, orphans   sorted sets: agents that are away, by when they are to be forgotten, and by
--                     when their "@" mail goes back to its pools
--   cut               set: agents whose sessions a restart ended; state has "ended" = 1
local AGENTS, LIVE, EVERYONE, CAPABILITIES, CUT, PAUSED, RESUMING

NAMES[#NAMES + 1] = function()
  AGENTS, LIVE, EVERYONE = P .. 'agents', P .. 'live', P .. 'everyone'
  CAPABILITIES, CUT, PAUSED = P .. 'capabilities', P .. 'cut', P .. 'paused'
  RESUMING = P .. 'resuming'
end

local AT, EPHEMERAL, LEASE_MS, SINCE = 1, 2, 3, 4  -- constants
local OFFERS, GROUPS, STATUS, FOLDER = 5, 6, 7, 8  -- constants

-- Those who are known: {epoch, node} by name; false: nobody.
local lives

local function parse_live(name, found)
  local live = false
  if found then
    local space = find(found, ' ', 1, true)
    live = { tonumber(sub(found, 1, space - 1)), sub(found, space + 1) }
  end
  lives[name] = live
  return live
end

local function live_of(name)
  local live = lives[name]
  if live == nil then live = parse_live(name, call('HGET', LIVE, name)) end
  return live
end

local function load_lives(names)
  local missing = {}
  for i = 1, #names do
    if lives[names[i]] == nil then
      missing[#missing + 1] = names[i]
      lives[names[i]] = false
    end
  end
  local found = hmget(LIVE, missing)
  for i = 1, #missing do parse_live(missing[i], found[i]) end
end

-- Where an agent is online; nil when it is not.
local function node_of(name)
  local live = live_of(name)
  if live and live[1] > 0 then return live[2] end
end

local function is_paused(name) return call('HEXISTS', PAUSED, name) == 1 end

-- What an operation of `name` comes back as when `epoch` is not current.
local function fence(name, epoch)
  if epoch == 0 then return nil end
  local live = live_of(name)
  local current = live and live[1] or 0
  if epoch ~= current then return { -1, current } end
end

local agents

local function agent_of(name)
  local agent = agents[name]
  if agent == nil then
    local found = call('HGET', AGENTS, name)
    agent = found and unpack_blob(found) or false
    agents[name] = agent
  end
  return agent
end

-- Lists of names, by key: in order, as sorted sets of one score are.
local lists

BEGIN[#BEGIN + 1] = function() lives, agents, lists = {}, {}, {} end

local function names_in(key)
  local names = lists[key]
  if not names then
    names = call('ZRANGE', key, 0, -1)
    lists[key] = names
  end
  return names
end

local function has(list, name)
  for i = 1, #list do
    if list[i] == name then return true end
  end
  return false
end

-- When an agent that is away is to be forgotten, and when its "@" mail is an orphan.
local function absence(name)
  local agent, live = agent_of(name), live_of(name)
  if not agent or not live or live[1] > 0 then return nil, nil end
  local ghost = agent[EPHEMERAL] and agent[SINCE] + args.ephemeral_ms or nil
  local orphan = box_of(name).v[VIAS] > 0 and agent[SINCE] + agent[LEASE_MS] or nil
  return ghost, orphan
end

-- For one that is online nothing is to be done: its registration took it off both lists.
note_absence = function(name)
  local live = live_of(name)
  if live and live[1] > 0 then return end
  local ghost, orphan = absence(name)
  if ghost then call('ZADD', GHOSTS, ghost, name) else call('ZREM', GHOSTS, name) end
  if orphan then call('ZADD', ORPHANS, orphan, name) else call('ZREM', ORPHANS, name) end
end

-- The online agent offering `capability` that has the least to do, but `sender`.
local function least_loaded(capability, sender)
  local names = names_in(P .. 'c:' .. capability)
  load_boxes(names)
  local least, taker
  for i = 1, #names do
    local load = boxes[names[i]].v[COUNT]
    if names[i] ~= sender and (not least or load < least) then least, taker = load, names[i] end
  end
  return taker
end

-- Whether the pool holds something that `taker` may have: what it did not send.
local function waits_for(taker, capability)
  local senders = P .. 'from:' .. capability
  local n = call('HLEN', senders)
  return n > 1 or (n == 1 and call('HEXISTS', senders, taker) == 0)
end
