-- Who archives the trail, and what all of them have (docs/decisions/0012). commit.lua adds to it.
--   trail             hash: position -> entry, an array: when, the node, the operations as they
--                     were given, and their answers, false where nothing changed
--   archivers         hash: node -> upto, at, dropped, the number of its newest digest
--   heads:<node>      hash: chain -> its last head, JSON
--   digests:<node>    hash: number of a block -> its digest
-- In the state: "archivers", how many the trail waits for; "trail", its last position;
-- "trail_first", the oldest that is kept; "trail_bytes", of what is kept.
local ARCHIVERS
local UPTO, HEARD, DROPPED, NEWEST = 1, 2, 3, 4  -- constants
-- Entries that one script removes at most; twice what comes between two archivings.
local PIECE = 2000  -- constant
-- Digests that are kept of each archiver.
local DIGESTS = 10000  -- constant

NAMES[#NAMES + 1] = function() ARCHIVERS = P .. 'archivers' end

local function archivers_by_node()
  local found, all = {}, call('HGETALL', ARCHIVERS)
  for i = 1, #all, 2 do found[all[i]] = unpack_blob(all[i + 1]) end
  return found
end

-- Goes by who archives now, and removes what all have; answers where the trail begins, and
-- whether there is more to remove.
local function settle_trail(by_node)
  local upto = last_entry
  archivers = 0
  for _, archiver in pairs(by_node) do
    if not archiver[DROPPED] then
      archivers = archivers + 1
      upto = math.min(upto, archiver[UPTO])
    end
  end
  call('HSET', STATE, 'archivers', archivers)
  local first = tonumber(call('HGET', STATE, 'trail_first') or 1)
  local last = math.min(upto, first + PIECE - 1)
  if first > last then return first, false end
  local gone = {}
  for pos = first, last do
    local name = fmt('%d', pos)
    gone[#gone + 1] = name
    trail_bytes = trail_bytes - call('HSTRLEN', TRAIL, name)
  end
  call('HDEL', TRAIL, unpack_list(gone))
  runs.forget(last)
  call('HSET', STATE, 'trail_first', fmt('%d', last + 1), 'trail_bytes', trail_bytes)
  return last + 1, last < upto
end

function APPLY.archive(op)
  local node, upto, heads, digests, ends = op[2], op[3], op[4], op[5], op[6]
  local by_node = archivers_by_node()
  if ends then
    by_node[node] = nil
    call('HDEL', ARCHIVERS, node)
    call('DEL', P .. 'heads:' .. node, P .. 'digests:' .. node)
  else
    local known = by_node[node] or { 0, 0, false, 0 }
    upto = math.max(known[UPTO], math.min(upto, last_entry))
    local newest, list = known[NEWEST], {}
    for i = 1, #digests do
      newest = math.max(newest, digests[i][1])
      list[2 * i - 1], list[2 * i] = fmt('%d', digests[i][1]), digests[i][2]
    end
    if list[1] then write('HSET', P .. 'digests:' .. node, list) end
    for number = math.max(0, known[NEWEST] - DIGESTS + 1), newest - DIGESTS do
      call('HDEL', P .. 'digests:' .. node, fmt('%d', number))
    end
    for i = 1, #heads do call('HSET', P .. 'heads:' .. node, heads[i][1], heads[i][2]) end
    by_node[node] = { upto, NOW, false, newest }
    call('HSET', ARCHIVERS, node, pack(by_node[node]))
  end
  local first = settle_trail(by_node)
  return { 0, first, last_entry }
end

-- Waits no longer for archivers that were silent for too long; whether more is to be removed.
local function drop_silent(archiver_ms, away_ms, most_bytes)
  local by_node = archivers_by_node()
  if not next(by_node) and not call('HGET', STATE, 'archivers') then return false end
  local patience = trail_bytes > most_bytes and math.min(away_ms, archiver_ms) or archiver_ms
  for node, archiver in pairs(by_node) do
    if not archiver[DROPPED] and NOW - archiver[HEARD] >= patience then
      archiver[DROPPED] = true
      call('HSET', ARCHIVERS, node, pack(archiver))
    end
  end
  local _, more = settle_trail(by_node)
  return more
end
