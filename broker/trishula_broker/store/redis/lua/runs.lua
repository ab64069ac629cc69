-- Runs in this batch: made, found and settled here, and taken apart by whatever else is done to one
-- of their messages. Then each has an entry in the log and a copy, as others have.
--   q:<mailbox>   has "first-last" by the score of the first, while any of it waits
--   h:<mailbox>   has "first-last" too, see space.lua
--   ids           has "sender first+" for each of its ids
local runs = {}
-- Ranges that are done in one run, at most: all are written again with each. What is done one by one,
-- as slow agents do, is taken apart.
local RANGES = 16  -- constant
local RUNS, HEADS, BODIES, KEPT, KEPT_AT
local ids  -- what IDS has, by id; false: nothing

NAMES[#NAMES + 1] = function()
  RUNS, HEADS, BODIES = P .. 'runs', P .. 'runs:heads', P .. 'runs:bodies'
  KEPT, KEPT_AT = P .. 'runs:kept', P .. 'runs:kept_at'
end

-- By the seq of the first, as text: what was read, false: nothing there; and what is to be written.
-- Of each run the seq of its first, and of mailboxes the run last found there.
BEGIN[#BEGIN + 1] = function()
  ids = {}
  runs.known, runs.changed, runs.first, runs.last = {}, {}, {}, {}
  runs.heads, runs.bodies = {}, {}
  runs.made = false
end

function runs.name(run) return fmt('%d', runs.first[run]) end

function runs.member(run) return fmt('%d-%d', runs.first[run], run[RUN_LAST]) end

function runs.count(run) return run[RUN_LAST] - runs.first[run] + 1 end

function runs.load(first)
  local run = runs.known[first]
  if run == nil then
    local found = call('HGET', RUNS, first)
    run = found and unpack_blob(found) or false
    runs.known[first] = run
    if run then runs.first[run] = tonumber(first) end
  end
  return run
end

function runs.head(first)
  local head = runs.heads[first]
  if not head then
    head = unpack_blob(call('HGET', HEADS, first))
    runs.heads[first] = head
  end
  return head
end

function runs.body(first)
  local bodies = runs.bodies[first]
  if bodies == nil then
    bodies = call('HGET', BODIES, first)
    runs.bodies[first] = bodies
  end
  return bodies
end

function runs.entry(run, seq)
  local first = runs.name(run)
  return page.entry(run, runs.head(first), runs.body(first), seq - runs.first[run] + 1)
end

-- The run that has `seq` for that mailbox.
function runs.at(box, seq)
  local run = runs.last[box]
  if run and runs.first[run] <= seq and seq <= run[RUN_LAST] then return run end
  if runs.made then flush() end
  local member = call('ZREVRANGEBYSCORE', box.h, fmt('%d', seq), '-inf', 'LIMIT', 0, 1)[1]
  local dash = member and find(member, '-', 1, true)
  if not dash or seq > tonumber(sub(member, dash + 1)) then return nil end
  run = runs.load(sub(member, 1, dash - 1))
  if not run or run[RUN_TO] ~= box.name then return nil end
  runs.last[box] = run
  return run
end

-- What the trail tells of a run is with the run, until that goes first.
function runs.keep(first, pos, head, bodies)
  call('HSET', KEPT, first, struct.pack('>I4', #head) .. head .. bodies)
  call('ZADD', KEPT_AT, pos, first)
  trail_bytes = trail_bytes + #head + #bodies
  call('HSET', STATE, 'trail_bytes', trail_bytes)
end

function runs.keep_for_trail(run)
  local pos = run[RUN_POS]
  if pos == 0 then return end
  run[RUN_POS] = 0
  if pos > last_entry or call('HEXISTS', TRAIL, fmt('%d', pos)) == 1 then
    local first = runs.name(run)
    runs.keep(first, pos, call('HGET', HEADS, first), runs.body(first))
  end
end

-- What was kept for entries of the trail up to `pos` is not needed any more.
function runs.forget(pos)
  local gone = call('ZRANGEBYSCORE', KEPT_AT, '-inf', pos)
  for i = 1, #gone do
    trail_bytes = trail_bytes - call('HSTRLEN', KEPT, gone[i]) + 4
    call('HDEL', KEPT, gone[i])
    call('ZREM', KEPT_AT, gone[i])
  end
end

-- What IDS has of an id, `known`, when the one in the run is `instead`, or nothing.
function runs.renamed(known, sender, first, instead)
  local mine, others = sender .. ' ' .. first .. '+', {}
  for one in string.gmatch(known, '[^,]+') do
    if one ~= mine then
      others[#others + 1] = one
    elseif instead then
      others[#others + 1] = sender .. ' ' .. instead
    end
  end
  return others[1] and table.concat(others, ',') or false
end

function runs.load_ids(names)
  local missing = {}
  for i = 1, #names do
    if ids[names[i]] == nil then missing[#missing + 1] = names[i] end
  end
  local found = hmget(IDS, missing)
  for i = 1, #missing do ids[missing[i]] = found[i] end
end

function runs.remove(run)
  local first = runs.name(run)
  call('HDEL', RUNS, first)
  call('HDEL', HEADS, first)
  call('HDEL', BODIES, first)
  runs.known[first], runs.changed[first] = false, nil
  runs.last = {}
end

function runs.take_apart(run)
  runs.keep_for_trail(run)
  local first, begins, sender = runs.name(run), runs.first[run], run[RUN_SENDER]
  local head, bodies, box = runs.head(first), runs.body(first), box_of(run[RUN_TO])
  runs.load_ids(head[1])
  for n = 1, runs.count(run) do
    local id, number = head[1][n], begins + n - 1
    local seq = fmt('%d', number)
    local entry = page.entry(run, head, bodies, n)
    entries[seq] = entry
    hset(LOG, seq, entry)
    ids[id] = runs.renamed(ids[id], sender, first, seq)
    hset(IDS, id, ids[id])
    local held, field = page.copy(run, n, number), seq .. ':' .. box.name
    local packed = pack(held)
    copies[field] = packed
    hset(COPIES, field, packed)
    if not held[SETTLED] then zadd(box.q, fmt('%d', run[RUN_PRIORITY] * PLACE + number), seq) end
  end
  zrem(box.q, runs.member(run))
  runs.remove(run)
end

-- The copy at "seq:mailbox", alone from now on, when it is in a run; else false.
part_of_run = function(field)
  local colon = find(field, ':', 1, true)
  local seq = tonumber(sub(field, 1, colon - 1))
  local run = seq and runs.at(box_of(sub(field, colon + 1)), seq)
  if not run then return false end
  runs.take_apart(run)
  return copies[field]
end

-- A new run; `at` is where the packed head and the bodies are in the arguments of the batch.
function runs.make(run, first, head, packed, bodies)
  local name = fmt('%d', first)
  runs.first[run] = first
  runs.known[name], runs.changed[name] = run, run
  runs.heads[name], runs.bodies[name], runs.made = head, bodies, true
  call('HSET', HEADS, name, packed)
  call('HSET', BODIES, name, bodies)
end

-- Those from `seq` to `last` of a run, which were delivered `at`, are done; those that were before
-- are told by their places.
function runs.settle(box, run, seq, last, at, place, stale)
  for i = RUN_DONE, #run, 4 do
    if run[i] <= last and seq <= run[i + 1] then
      if seq == last then
        stale[#stale + 1] = -place
      else
        for one = seq, last do runs.settle(box, run, one, one, at, place + one - seq, stale) end
      end
      return
    end
  end
  local begins, n, v = runs.first[run], #run, box.v
  if n > RUN_LEFT and run[n - 2] == seq - 1 and run[n - 1] == at and run[n] == NOW then
    run[n - 2] = last
  else
    run[n + 1], run[n + 2], run[n + 3], run[n + 4] = seq, last, at, NOW
  end
  local count, ends = last - seq + 1, run[RUN_ENDS]
  local bytes = page.upto(ends, last - begins + 1) - page.upto(ends, seq - begins)
  run[RUN_LEFT] = run[RUN_LEFT] - count
  v[COUNT], v[SIZE] = v[COUNT] - count, v[SIZE] - bytes
  v[MESSAGES], v[BYTES] = v[MESSAGES] - count, v[BYTES] - bytes
  changed_boxes[box.name] = box
  runs.changed[runs.name(run)] = run
  if run[RUN_LEFT] == 0 then zrem(box.q, runs.member(run)) end
end

-- Whether so much of it is done in so many pieces that it is better apart.
function runs.bound(run)
  if run[RUN_LEFT] > 0 and #run > RUN_LEFT + 4 * RANGES then runs.take_apart(run) end
end

runs_changed = function()
  for first, run in pairs(runs.changed) do hset(RUNS, first, pack(run)) end
  runs.changed, runs.made = {}, false
end
