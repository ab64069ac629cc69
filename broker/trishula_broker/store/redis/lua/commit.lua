-- Does the operations in their order, and answers: how many of them were done, the time, the
-- number of the last message to this node, the epoch given last, and what became of each.

-- Reads at once what most operations will ask for.
local function prefetch()
  local names, wanted, found_ids, held = {}, {}, {}, {}
  for i = 1, #ops do
    local op = ops[i]
    local code = op[1]
    if code == 'accept' then
      names[#names + 1] = op[2]
      found_ids[#found_ids + 1] = op[6]
      wanted[#wanted + 1] = op[2]
      if op[4] == 'agent' then
        names[#names + 1] = op[5]
        wanted[#wanted + 1] = op[5]
      end
    elseif code == 'settle' or code == 'read' or code == 'delivered' or code == 'requeue' then
      names[#names + 1] = op[2]
      wanted[#wanted + 1] = op[2]
      local seqs, tail = op[4], ':' .. op[2]
      for j = 1, #seqs do held[#held + 1] = seqs[j] .. tail end
    end
  end
  load_lives(names)
  load_boxes(wanted)
  load_copies(held)
  local known = hmget(IDS, found_ids)
  for i = 1, #found_ids do ids[found_ids[i]] = known[i] end
end

-- What the caller has given up must not be done later: it may have gone another way since.
if args.deadline and clock > args.deadline then return { -1, clock } end

if args.arriving then arrived() end
prefetch()
local outcomes = {}
for i = 1, #ops do
  outcomes[i] = APPLY[ops[i][1]](ops[i])
  if pointers >= args.pointers then break end
end
flush()
publish_hints()
return { #outcomes, clock, tonumber(call('HGET', TOLD, NODE) or 0), last_epoch, outcomes }
