-- Mail comes in, goes out and ends: a function an operation; encoding.py has their arguments.
--   t:<thread>   sorted set: messages that name the thread, seq by seq; its first is not there
local APPLY = {}
local pointers  -- copies this batch has made

BEGIN[#BEGIN + 1] = function() pointers = 0 end

-- The seq of the message for which `sender` used `id` before, and the run that it is in.
local function earlier(sender, id)
  local known = ids[id]
  if known == nil then
    known = call('HGET', IDS, id)
    ids[id] = known
  end
  if not known then return nil end
  for who, seq, in_run in string.gmatch(known, '([^ ,]+) (%d+)(%+?)') do
    if who == sender then
      if in_run == '' then return seq end
      local run = runs.load(seq)
      return fmt('%d', runs.first[run] + page.place(runs.head(seq), id) - 1), run
    end
  end
end

-- What `accept` answers to a message that is there.
local function duplicate_of(seq, run)
  local entry = run and runs.entry(run, tonumber(seq)) or entries[seq] or call('HGET', LOG, seq)
  return { 1, tonumber(seq), entry }
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
  local before, run = earlier(sender, id)
  if before then return duplicate_of(before, run) end
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

-- Each of a run is a message for itself: one is refused, or a node does not know runs.
local function send_each(sender, name, priority, head, bodies, ends)
  local sent_ids = head[1]
  local looks = { 0, sender, name, priority, 0, 0, 0, ends }
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
    local id, size = sent_ids[i], page.size(looks, i)
    local before, run = earlier(sender, id)
    local refused
    if before then
      refused = duplicate_of(before, run)
    elseif not live then
      refused = { 2 }
    elseif messages_left < 1 or bytes_left < size then
      refused = { 3, { name } }
    else
      last_seq = last_seq + 1
      nth = nth + 1
      messages_left, bytes_left, bytes = messages_left - 1, bytes_left - size, bytes + size
      local seq = fmt('%d', last_seq)
      local entry = struct.pack('>dI4I4', NOW, size, nth % 4294967296)
        .. page.header(looks, head, i) .. page.body(looks, bodies, i)
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

-- Plain messages of one agent to another, see runs.py: as many times `accept`. Answers the seq of
-- the first when all were accepted, else of each what `accept` answers.
function APPLY.run(op)
  local sender, name, priority, n, ends = op[2], op[4], op[5], op[6], op[7]
  local fenced = fence(sender, op[3])
  if fenced then return fenced end
  local head, live, from, to = op.head, live_of(name), box_of(sender), box_of(name)
  local sent, v, bytes, first = head[1], to.v, page.upto(ends, n), last_seq + 1
  local whole = in_runs and live and v[MESSAGES] + n <= args.messages
    and v[BYTES] + bytes <= args.bytes
  for i = 1, whole and n or 0 do whole = whole and not earlier(sender, sent[i]) end
  if not whole then
    op.each = true
    return send_each(sender, name, priority, head, op.bodies, ends)
  end
  local by_id, known = fields_of(IDS), fmt('%s %d+', sender, first)
  local at = #by_id
  for i = 1, n do
    local id, now_known = sent[i], known
    if ids[id] then now_known = ids[id] .. ',' .. known end
    ids[id] = now_known
    by_id[at + 1], by_id[at + 2] = id, now_known
    at = at + 2
  end
  last_seq, log_bytes, state_changed = last_seq + n, log_bytes + bytes, true
  pointers = pointers + n
  local run = { last_seq, sender, name, priority, from.v[SENT] + 1, NOW,
    archivers > 0 and last_entry + 1 or 0, ends, 0, n }
  runs.make(run, first, head, op.packed, op.bodies)
  from.v[SENT] = from.v[SENT] + n
  v[COUNT], v[SIZE], v[MESSAGES], v[BYTES] =
    v[COUNT] + n, v[SIZE] + bytes, v[MESSAGES] + n, v[BYTES] + bytes
  changed_boxes[name], changed_boxes[sender] = to, from
  local score, member = fmt('%d', first), runs.member(run)
  zadd(to.q, fmt('%d', priority * PLACE + first), member)
  zadd(to.h, score, member)
  if from ~= to then zadd(from.h, score, member) end
  if live[1] > 0 and live[2] ~= NODE then hint_run(live[2], run, op.packed, op.bodies) end
  return first
end

function APPLY.fetch(op)
  local name, after, limit, limit_bytes = op[2], op[4], op[5], op[6]
  local fenced = fence(name, op[3])
  if fenced then return fenced end
  if is_paused(name) then return { 0 } end
  flush()
  local box = box_of(name)
  local from = after and '(' .. fmt('%d', after[1] * PLACE + after[2]) or '-inf'
  local found, size, more, offset, part = {}, 0, false, 0, limit + 1
  local function take(seq, held)
    size = size + held[1]
    if #found == limit or (#found > 0 and size > limit_bytes) then
      more = true
    else
      found[#found + 1] = { seq, held }
    end
  end
  local function take_run(member, behind)
    local run = runs.load(sub(member, 1, find(member, '-', 1, true) - 1))
    for seq = math.max(runs.first[run], behind + 1), run[RUN_LAST] do
      if not page.done(run, seq) then
        take(fmt('%d', seq), new_copy(page.size(run, seq - runs.first[run] + 1), 0))
        if more then return end
        found[#found].entry = runs.entry(run, seq)
      end
    end
  end
  if after then  -- the rest of the run where it left off
    local at = fmt('%d', after[1] * PLACE + after[2])
    local last = call('ZREVRANGEBYSCORE', box.q, at, fmt('%d', after[1] * PLACE), 'LIMIT', 0, 1)[1]
    if last and find(last, '-', 1, true) then take_run(last, after[2]) end
  end
  while not more do
    local members = call('ZRANGEBYSCORE', box.q, from, '+inf', 'LIMIT', offset, part)
    local names = {}
    for i = 1, #members do
      if not find(members[i], '-', 1, true) then names[#names + 1] = members[i] .. ':' .. name end
    end
    load_copies(names)
    for i = 1, #members do
      if find(members[i], '-', 1, true) then
        take_run(members[i], 0)
      else
        local held = copy_at(members[i] .. ':' .. name)
        if not is_delayed(held[DUE]) then take(members[i], held) end
      end
      if more then break end
    end
    offset = offset + part
    if #members < part then break end
  end
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

-- Those are done that are no part of a run; `places` where they were said, each its own without.
local function settle_each(box, seqs, named, ats, places, stale)
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
      mark_one(box, seqs[i], field, places and places[i] or i, at, done, stale)
    end
  end
  if n > 0 then
    local v = box.v
    v[COUNT], v[SIZE] = v[COUNT] - n, v[SIZE] - bytes
    v[MESSAGES], v[BYTES] = v[MESSAGES] - n + n_hub, v[BYTES] - bytes + bytes_hub
    changed_boxes[box.name] = box
  end
end

function APPLY.settle(op)
  local name = op[2]
  local fenced = fence(name, op[3])
  if fenced then return fenced end
  local stale = { 0 }
  settle_each(box_of(name), op[4], op.fields, op[5], nil, stale)
  return stale
end

local function by_place(a, b) return math.abs(a) < math.abs(b) end

-- The same of many: of those in a row the first, how many, and when all of them were delivered.
function APPLY.settles(op)
  local name, firsts, counts, ats = op[2], op[4], op[5], op[6]
  local fenced = fence(name, op[3])
  if fenced then return fenced end
  local box, place, stale, tail = box_of(name), 1, { 0 }, ':' .. name
  local seqs, named, others, places = {}, {}, {}, {}
  for i = 1, #firsts do
    local seq, last, at, looked = firsts[i], firsts[i] + counts[i] - 1, ats[i], false
    while seq <= last do
      local field = fmt('%d', seq) .. tail
      local run = not copies[field] and runs.at(box, seq)
      local upto = run and math.min(last, run[RUN_LAST]) or seq
      if run then
        runs.settle(box, run, seq, upto, at, place, stale)
        runs.bound(run)
      else
        if not looked and seq < last then
          looked = true
          local wanted = {}
          for one = seq, last do wanted[#wanted + 1] = fmt('%d', one) .. tail end
          load_copies(wanted)
        end
        if not copies[field] then copy_at(field) end
        local n = #seqs + 1
        seqs[n], named[n], others[n], places[n] = fmt('%d', seq), field, at, place
      end
      place = place + upto - seq + 1
      seq = upto + 1
    end
  end
  if seqs[1] then
    settle_each(box, seqs, named, others, places, stale)
    table.sort(stale, by_place)
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
