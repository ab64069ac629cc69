-- Mail comes in, goes out and ends: a function an operation; encoding.py has their arguments.
--   t:<thread>   sorted set: messages that name the thread, seq by seq; its first is not there
local APPLY = {}
local pointers  -- copies this batch has made
local ids       -- what IDS has, by id; false: nothing

BEGIN[#BEGIN + 1] = function() pointers, ids = 0, {} end

-- The seq of the message for which `sender` used `id` before.
local function earlier(sender, id)
  local known = ids[id]
  if known == nil then
    known = call('HGET', IDS, id)
    ids[id] = known
  end
  if not known then return nil end
  for who, seq in string.gmatch(known, '([^ ,]+) (%d+)') do
    if who == sender then return seq end
  end
end

-- Puts a message at the end of the log; answers its seq and its entry in the log.
local function append(sender, id, thread, header, body)
  last_seq = last_seq + 1
  log_bytes = log_bytes + #body
  state_changed = true
  local seq = fmt('%d', last_seq)
  local box = box_of(sender)
  local nth = box.v[SENT] + 1
  box.v[SENT] = nth
  changed_boxes[sender] = box
  local entry = struct.pack('>dI4I4', NOW, #body, nth % 2 ^ 32) .. header .. body
  entries[seq] = entry
  hset(LOG, seq, entry)
  local known = ids[id]
  known = (known and known .. ',' or '') .. sender .. ' ' .. seq
  ids[id] = known
  hset(IDS, id, known)
  if thread and thread ~= id then zadd(P .. 't:' .. thread, seq, seq) end
  zadd(box.h, seq, seq)
  return seq, entry
end

-- A new copy of a message. `packed` is what the first two of it look like in Redis.
local function point(box, seq, score, kind, size, packed, expires_at)
  local field = seq .. ':' .. box.name
  copies[field] = packed
  hset(COPIES, field, packed)
  zadd(box.q, score, seq)
  zadd(box.h, seq, seq)
  if expires_at then zadd(EXPIRING, expires_at, due_member(seq, box.name)) end
  pointers = pointers + 1
  count(box, size, kind, 1)
end

local function new_copy(size, kind) return { size, kind, 0, 0, 0, 0, 0, 0, 0 } end

-- Mail from the hub; answers its seq, or false when `to` is not known or has it already.
local function post(to, id, thread, header, body)
  if not live_of(to) or earlier('hub', id) then return false end
  local seq, entry = append('hub', id, thread, header, body)
  local box = box_of(to)
  point(box, seq, fmt('%d', args.priority * PLACE + last_seq), 1, #body, pack_new(#body, 1))
  hint_mail(to, seq, new_copy(#body, 1), entry)
  return last_seq
end

local function is_full(box, sender, size)
  local v = box.v
  return sender ~= 'hub' and (v[MESSAGES] + 1 > args.messages or v[BYTES] + size > args.bytes)
end

-- The mailboxes that a message is for, by name; nil when nobody is known by that address.
local function recipients_of(kind, name, sender)
  if kind == 'agent' then return live_of(name) and { name } end
  if kind == 'capability' then
    if call('SISMEMBER', CAPABILITIES, name) == 0 then return nil end
    local taker = least_loaded(name, sender)
    return { (not taker or waits_for(taker, name)) and '@' .. name or taker }
  end
  local all = names_in(kind == 'broadcast' and EVERYONE or P .. 'g:' .. name)
  local names = {}
  for i = 1, #all do
    if all[i] ~= sender then names[#names + 1] = all[i] end
  end
  if #names > 0 or kind == 'broadcast' then return names end
end

-- An answer that ends a copy finds room with whoever sent that one.
local function without_asker(full, box, settles)
  if not waiting(box, settles) then return full end
  local asker = message_at(settles)[4][SENDER]
  local others = {}
  for i = 1, #full do
    if full[i] ~= asker then others[#others + 1] = full[i] end
  end
  return others[1] and others
end

function APPLY.accept(op)
  local sender, kind, name, id = op[2], op[4], op[5], op[6]
  local priority, thread, ttl, header, body, settles, told, delivered_at =
    op[7], op[8], op[9], op[10], op[11], op[12], op[13], op[15]
  local fenced = fence(sender, op[3])
  if fenced then return fenced end
  local before = earlier(sender, id)
  if before then
    return { 1, tonumber(before), entries[before] or call('HGET', LOG, before) }
  end
  local names = recipients_of(kind, name, sender)
  if not names then return { 2 } end
  if names[2] then
    load_boxes(names)
    load_lives(names)
  end
  local size = #body
  local full
  for i = 1, #names do
    if is_full(box_of(names[i]), sender, size) then
      full = full or {}
      full[#full + 1] = names[i]
    end
  end
  if full and settles then full = without_asker(full, box_of(sender), settles) end
  if full and #full == #names then return { 3, full } end
  if settles then
    local held = copy_at(settles .. ':' .. sender)
    if not held or (held[SETTLED] > 0 and held[OUTCOME] ~= 'done') then return { 4 } end
    if held[SETTLED] == 0 then
      if delivered_at then held[DELIVERED] = delivered_at end
      settle(box_of(sender), settles, held, 'done')
    end
  end
  local seq, entry = append(sender, id, thread, header, body)
  local score = fmt('%d', priority * PLACE + last_seq)
  local expires_at = ttl and NOW + ttl
  local what = (sender == 'hub' and 1 or 0) + (kind == 'capability' and 2 or 0) + (ttl and 4 or 0)
  local packed = pack_new(size, what)
  local accepted = last_seq
  if full then
    local left = {}
    for i = 1, #names do
      if not has(full, names[i]) then left[#left + 1] = names[i] end
    end
    names = left
  end
  for i = 1, #names do
    local box = boxes[names[i]]
    point(box, seq, score, what, size, packed, expires_at)
    local live = live_of(names[i])
    if live and live[1] > 0 and live[2] ~= NODE then
      hint_mail(names[i], seq, new_copy(size, what), entry)
    end
  end
  if kind == 'agent' then return accepted end
  hset(TO, seq, table.concat(names, ','))
  local pool = kind == 'capability' and boxes[names[1]].pool
  local behind = false
  if pool then
    pool_count(boxes[names[1]], seq, 1)
    behind = least_loaded(name, sender) and 1 or false
    names = {}
  end
  local notice = false
  if full and told then
    local text = told[3] .. '["' .. table.concat(full, '","') .. '"]' .. told[4]
    notice = post(sender, told[1], told[5], told[2], text)
  end
  return { 0, accepted, names, full or {}, pool or false, behind, notice }
end

-- Plain messages of one agent to another, see runs.py: as many times `accept`. Answers the seq of
-- the first when all were accepted, else of each what `accept` answers.
function APPLY.sends(op)
  local sender, name, priority, sent_ids, sizes, rests = op[2], op[4], op[5], op[6], op[7], op[8]
  local fenced = fence(sender, op[3])
  if fenced then return fenced end
  local live, from, to = live_of(name), box_of(sender), box_of(name)
  local where = live and live[1] > 0 and live[2] ~= NODE and live[2]
  local log, by_id, held = fields_of(LOG), fields_of(IDS), fields_of(COPIES)
  local queue = added_to(to.q)
  local first, tail, place, bytes = last_seq + 1, ':' .. name, priority * PLACE, 0
  local nth, messages_left, bytes_left =
    from.v[SENT], args.messages - to.v[MESSAGES], args.bytes - to.v[BYTES]
  local answers
  local told = {}
  for i = 1, #sent_ids do
    local id, size = sent_ids[i], sizes[i]
    local before = earlier(sender, id)
    local refused
    if before then
      refused = { 1, tonumber(before), entries[before] or call('HGET', LOG, before) }
    elseif not live then
      refused = { 2 }
    elseif messages_left < 1 or bytes_left < size then
      refused = { 3, { name } }
    else
      last_seq = last_seq + 1
      nth = nth + 1
      messages_left, bytes_left, bytes = messages_left - 1, bytes_left - size, bytes + size
      local seq = fmt('%d', last_seq)
      local entry = struct.pack('>dI4I4', NOW, size, nth % 4294967296) .. rests[i]
      entries[seq] = entry
      local n = #log
      log[n + 1], log[n + 2] = seq, entry
      local known = ids[id]
      known = (known and known .. ',' or '') .. sender .. ' ' .. seq
      ids[id] = known
      n = #by_id
      by_id[n + 1], by_id[n + 2] = id, known
      local field, packed = seq .. tail, pack_new(size, 0)
      copies[field] = packed
      n = #held
      held[n + 1], held[n + 2] = field, packed
      n = #queue
      queue[n + 1], queue[n + 2] = fmt('%d', place + last_seq), seq
      if where then
        n = #told
        told[n + 1], told[n + 2] = struct.pack('>I4', #entry), entry
      end
    end
    if refused and not answers then
      answers = {}
      for j = 1, i - 1 do answers[j] = first + j - 1 end
    end
    if answers then answers[i] = refused or last_seq end
  end
  local n = last_seq - first + 1
  if n > 0 then
    local v = to.v
    v[COUNT], v[SIZE], v[MESSAGES], v[BYTES] = v[COUNT] + n, v[SIZE] + bytes, v[MESSAGES] + n, v[BYTES] + bytes
    from.v[SENT] = nth
    changed_boxes[name], changed_boxes[sender] = to, from
    log_bytes, state_changed, pointers = log_bytes + bytes, true, pointers + n
    local score, member = fmt('%d', first), fmt(n > 1 and '%d-%d' or '%d', first, last_seq)
    zadd(to.h, score, member)
    if from ~= to then zadd(from.h, score, member) end
    if where then hint_mails(where, name, first, n, told) end
  end
  return answers or first
end

function APPLY.fetch(op)
  local name, after, limit, limit_bytes = op[2], op[4], op[5], op[6]
  local fenced = fence(name, op[3])
  if fenced then return fenced end
  if is_paused(name) then return { 0 } end
  flush()
  local box = box_of(name)
  local from = after and '(' .. fmt('%d', after[1] * PLACE + after[2]) or '-inf'
  local found, size, more, offset, page = {}, 0, false, 0, limit + 1
  repeat
    local seqs = call('ZRANGEBYSCORE', box.q, from, '+inf', 'LIMIT', offset, page)
    local names = {}
    for i = 1, #seqs do names[i] = seqs[i] .. ':' .. name end
    load_copies(names)
    for i = 1, #seqs do
      local held = copy_at(names[i])
      if not is_delayed(held[DUE]) then
        size = size + held[1]
        if #found == limit or (#found > 0 and size > limit_bytes) then
          more = true
          break
        end
        found[#found + 1] = { seqs[i], held }
      end
    end
    offset = offset + page
  until more or #seqs < page
  local due = call('ZRANGEBYSCORE', box.d, '(' .. fmt('%d', NOW), NOW + DELAYS[#DELAYS],
    'WITHSCORES', 'LIMIT', 0, 1)
  return { 0, shown(found), more and 1 or false, due[2] and tonumber(due[2]) or false }
end

-- Answers which of `seqs` are not this agent's, by place, and which were so before, by the place
-- below zero; `change` is done to those that wait, and says when they were so before.
local function mark_one(box, seq, field, place, value, change, stale)
  local held = copy_at(field)
  if not held then
    stale[#stale + 1] = place
  elseif held[SETTLED] == 0 then
    if change(box, seq, held, value) then stale[#stale + 1] = -place end
    changed_copies[field] = held
  else
    stale[#stale + 1] = -place
  end
end

local function mark(op, change)
  local name, seqs, values = op[2], op[4], op[5]
  local fenced = fence(name, op[3])
  if fenced then return fenced end
  local box, stale = box_of(name), { 0 }
  for i = 1, #seqs do
    mark_one(box, seqs[i], op.fields[i], i, values[i], change, stale)
  end
  return stale
end

function APPLY.delivered(op)
  return mark(op, function(_, _, held, at)
    local before = held[DELIVERED]
    held[DELIVERED] = at
    return before == at
  end)
end

local function done(box, seq, held, at)
  if at ~= 0 then held[DELIVERED] = at end
  settle(box, seq, held, 'done')
end

function APPLY.settle(op)
  local name, seqs, ats = op[2], op[4], op[5]
  local fenced = fence(name, op[3])
  if fenced then return fenced end
  local box, named = box_of(name), op.fields
  local stale = { 0 }
  local written, gone = fields_of(COPIES), removed_from(box.q)
  local n, bytes, n_hub, bytes_hub = 0, 0, 0, 0
  for i = 1, #seqs do
    local field, at = named[i], ats[i]
    local held = copies[field]
    local new = held and (news[held] or (type(held) == 'string' and new_of(held)))
    local kind = new and new[KIND]
    if new and kind < 2 then  -- neither by a capability nor one that expires
      local size, known, last = new[1], ends[at], #written
      local ended = known and known[held] or pack_done(held, at)
      copies[field] = ended
      written[last + 1], written[last + 2] = field, ended
      gone[#gone + 1] = seqs[i]
      n, bytes = n + 1, bytes + size
      if kind == 1 then n_hub, bytes_hub = n_hub + 1, bytes_hub + size end
    else
      mark_one(box, seqs[i], field, i, at, done, stale)
    end
  end
  if n > 0 then
    local v = box.v
    v[COUNT], v[SIZE] = v[COUNT] - n, v[SIZE] - bytes
    v[MESSAGES], v[BYTES] = v[MESSAGES] - n + n_hub, v[BYTES] - bytes + bytes_hub
    changed_boxes[name] = box
  end
  return stale
end

function APPLY.read(op)
  local lease_ms, want = op[6], op[7]
  local marked = mark(op, function(box, seq, held)
    local renews = held[LEASE] > 0
    if is_delayed(held[DUE]) then
      held[ATTEMPTS] = held[ATTEMPTS] - 1  -- the attempt that seemed to have ended goes on
    end
    set_due(box, seq, held, 0)
    set_lease(box, seq, held, NOW + lease_ms)
    if held[READ_AT] == 0 then held[READ_AT] = NOW end
    return renews
  end)
  if not want or marked[1] ~= 0 then return marked end
  local box = box_of(op[2])
  local found, seen = {}, {}
  for i = 1, #op[4] do
    local seq = op[4][i]
    local held = not seen[seq] and waiting(box, seq)
    seen[seq] = true
    if held then found[#found + 1] = { seq, held } end
  end
  return { marked, shown(found) }
end

function APPLY.requeue(op)
  local name = op[2]
  local fenced = fence(name, op[3])
  if fenced then return fenced end
  local box = box_of(name)
  local found, stale, again, seen = {}, {}, {}, {}
  for i = 1, #op[4] do
    local seq = op[4][i]
    if not seen[seq] then
      seen[seq] = true
      local held = waiting(box, seq)
      if not held then
        stale[#stale + 1] = tonumber(seq)
      else
        if held[LEASE] > 0 or not is_delayed(held[DUE]) then
          end_attempt(box, seq, held)
        else
          again[#again + 1] = tonumber(seq)
        end
        found[#found + 1] = { tonumber(seq), held[ATTEMPTS], held[DUE] }
      end
    end
  end
  return { 0, found, stale, again }
end

-- Whether somebody else knows better what became of the copies of that agent.
local function is_spared(name, node, offline_only)
  local where = node_of(name)
  return where and (offline_only or (node ~= '' and where ~= node))
end

function APPLY.discard(op)
  local name, seq, outcome, reason, told = op[2], op[4], op[5], op[6], op[7]
  local unread_only, node, offline_only = op[8], op[9], op[10]
  local fenced = fence(name, op[3])
  if fenced then return fenced end
  local box = box_of(name)
  local held = copy_at(seq .. ':' .. name)
  if not held then return { 0, false, false, false, false } end
  local current = held[OUTCOME] or false
  local droppable = outcome == 'dropped' and held[SETTLED] > 0 and is_dead(held)
  if held[SETTLED] > 0 and not droppable then
    local again = current == outcome and 1 or false
    return { 0, again, current, false, again }
  end
  local early = false
  if outcome == 'expired' then
    local message = message_at(seq)
    early = not EXPIRES[held[KIND]] or message[1] + message[4][TTL] > NOW
  end
  local read = unread_only and held[READ_AT] > 0
  if early or read or (outcome == 'dropped' and not droppable)
    or is_spared(name, node, offline_only) then
    return { 0, false, current, false, false }
  end
  settle(box, seq, held, outcome, reason)
  local where = node_of(name)
  if where then hint(where, 'withdrawn', name, seq) end
  local notice = told and post(told[1], told[2], told[5], told[3], told[4])
  return { 0, 1, outcome, notice or false, false }
end
