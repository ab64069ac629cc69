-- Does the operations in their order, and answers: how many of them were done, the time, the
-- number of the last message to this node, the epoch given last, what became of each, and the
-- position of its entry in the trail, 0 for none.

-- Reads at once what most operations will ask for.
local function prefetch()
  local names, found_ids, held, seen, at = {}, {}, {}, {}, 8
  local function want(name)
    if not seen[name] then
      seen[name] = true
      names[#names + 1] = name
    end
  end
  for i = 1, #ops do
    local op = ops[i]
    local code = op[1]
    if code == 'accept' then
      found_ids[#found_ids + 1] = op[6]
      want(op[2])
      if op[4] == 'agent' then want(op[5]) end
    elseif code == 'run' then
      op.packed, op.head, op.bodies = given_runs[at], unpack_blob(given_runs[at]), given_runs[at + 1]
      at = at + 2
      local sent, n = op.head[1], #found_ids
      for j = 1, #sent do found_ids[n + j] = sent[j] end
      want(op[2])
      want(op[4])
    elseif code == 'settles' then
      want(op[2])
      local counts = op[5]
      for j = 1, #counts do
        -- Of those in a row the run is looked for first.
        if counts[j] == 1 then held[#held + 1] = fmt('%d', op[4][j]) .. ':' .. op[2] end
      end
    elseif code == 'settle' or code == 'read' or code == 'delivered' or code == 'requeue' then
      want(op[2])
      local seqs, tail, named = op[4], ':' .. op[2], {}
      for j = 1, #seqs do
        local field = seqs[j] .. tail
        named[j] = field
        held[#held + 1] = field
      end
      op.fields = named
    end
  end
  load_lives(names)
  load_boxes(names)
  if next(copies) then
    load_copies(held)
  else
    local found = hmget(COPIES, held)
    for i = 1, #held do copies[held[i]] = found[i] or nil end
  end
  local known = hmget(IDS, found_ids)
  for i = 1, #found_ids do ids[found_ids[i]] = known[i] end
end

-- Whether an operation did something that the trail tells of; recorded.py decides the same.
local function is_recorded(op, outcome)
  if type(outcome) == 'number' then return true end  -- accepted
  local code, first = op[1], outcome[1]
  if first == -1 then return false end
  if code == 'run' then
    for i = 1, #outcome do
      if type(outcome[i]) == 'number' then return true end
    end
    return false
  end
  if code == 'settles' then
    local said = 0
    for i = 1, #op[5] do said = said + op[5][i] end
    return said >= #outcome
  end
  if code == 'settle' or code == 'read' or code == 'delivered' then
    -- Each of its seqs that is stale, or was so before, has its place in the answer.
    return #op[4] >= #(type(first) == 'table' and first or outcome)
  end
  if code == 'accept' or code == 'register' then return first == 0 end
  if code == 'requeue' then return #outcome[2] > #outcome[4] end
  if code == 'discard' then return outcome[2] == 1 and not outcome[5] end
  if code == 'assign' or code == 'end_node' then return #outcome[2] > 0 end
  if code == 'unassign' then return #outcome[3] > 0 end
  if code == 'leave' then return op[3] > 0 end
  if code == 'retry' then return outcome[2] ~= nil end
  if code == 'forget' then return outcome[2] == 0 and not outcome[3] end
  if code == 'pause' then return outcome[2] == 1 and not outcome[7] end
  if code == 'introduce' or code == 'revoke' or code == 'order_folder' then
    return outcome[2] == 1
  end
  return false
end

-- What `run` answered, without those that were not accepted; and the first that was.
local function accepted_of(outcome)
  if type(outcome) == 'number' then return outcome, outcome end
  local accepted, first = {}, nil
  for i = 1, #outcome do
    accepted[i] = type(outcome[i]) == 'number' and outcome[i]
    first = first or accepted[i] or nil
  end
  return accepted, first
end

-- Adds what was done to the trail: one entry, of what is packed already.
local function record(outcomes)
  local kept, some = {}, false
  for i = 1, #outcomes do
    kept[i] = is_recorded(ops[i], outcomes[i]) and outcomes[i]
    some = some or kept[i]
    if kept[i] and ops[i][1] == 'run' then
      local op, first = ops[i], nil
      kept[i], first = accepted_of(outcomes[i])
      if op.each then runs.keep(fmt('%d', first), last_entry + 1, op.packed, op.bodies) end
    end
  end
  if not some then return 0 end
  local done = given
  if #outcomes < #ops then
    -- Those that were done, as they are: what Lua would pack again is not what it unpacked.
    local head = ({ [220] = 3, [221] = 5 })[string.byte(given)] or 1
    local till = cmsgpack.unpack_limit(given, #outcomes, head)
    done = struct.pack('>BI2', 220, #outcomes) .. sub(given, head + 1, till)
  end
  local entry = '\148' .. pack(NOW) .. pack(NODE) .. done .. pack(kept)
  last_entry = last_entry + 1
  hset(TRAIL, fmt('%d', last_entry), entry)
  hset(STATE, 'trail', fmt('%d', last_entry))
  hset(STATE, 'trail_bytes', trail_bytes + #entry)
  return last_entry
end

local function commit(keys, argv)
  begin(keys, argv)
  -- What the caller has given up must not be done later: it may have gone another way since.
  if args.deadline and clock > args.deadline then return { -1, clock } end

  if args.arriving then arrived() end
  prefetch()
  local outcomes = {}
  for i = 1, #ops do
    outcomes[i] = APPLY[ops[i][1]](ops[i])
    if pointers >= args.pointers then break end
  end
  local entry = archivers > 0 and record(outcomes) or 0
  flush()
  publish_hints()
  return { #outcomes, clock, tonumber(call('HGET', TOLD, NODE) or 0), last_epoch, outcomes, entry }
end
