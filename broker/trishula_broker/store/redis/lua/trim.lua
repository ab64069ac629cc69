-- Removes from the log what retention allows, a bounded piece a call. "first" in the state is
-- where the log begins: nothing is left before it.
--   jumps   hash: seq -> the next one that was used, where a restored backup left numbers out

local histories  -- of mailboxes, by name: the seqs that they lose, in order

BEGIN[#BEGIN + 1] = function() histories = {} end

local function leaves_history(name, seq)
  local list = histories[name]
  if not list then
    list = {}
    histories[name] = list
  end
  if list[#list] ~= seq then list[#list + 1] = seq end
end

-- What is left of "first-last" without those that are gone goes in its place.
local function shorten(h, member, gone)
  local first, last = string.match(member, '^(%d+)-(%d+)$')
  if not first then return end
  local left, from = {}, nil
  for seq = tonumber(first), last + 1 do
    local stays = seq <= tonumber(last) and not gone[fmt('%d', seq)]
    if stays then
      from = from or seq
    elseif from then
      left[#left + 1] = fmt('%d', from)
      left[#left + 1] = fmt(from < seq - 1 and '%d-%d' or '%d', from, seq - 1)
      from = nil
    end
  end
  call('ZREM', h, member)
  write('ZADD', h, left)
end

local function shorten_history(h, seqs)
  if not seqs[1] then return end
  if call('ZREM', h, unpack_list(seqs)) == #seqs then return end
  local gone = {}
  for i = 1, #seqs do gone[seqs[i]] = true end
  local members = call('ZRANGEBYSCORE', h, '(' .. seqs[1], seqs[#seqs])
  members[#members + 1] = call('ZREVRANGEBYSCORE', h, seqs[1], '-inf', 'LIMIT', 0, 1)[1]
  for i = 1, #members do shorten(h, members[i], gone) end
end

local function shorten_histories()
  for name, seqs in pairs(histories) do
    shorten_history(P .. 'h:' .. name, seqs)
    if not live_of(name) and sub(name, 1, 1) ~= '@' then drop_box(box_of(name)) end
  end
end

-- Takes a message and its settled copies out of the log.
local function remove_message(seq, message, names)
  local header = message[4]
  local sender, id, thread = header[SENDER], header[ID], header[THREAD]
  local known = {}
  for who, at in string.gmatch(call('HGET', IDS, id) or '', '([^ ,]+) (%d+%+?)') do
    if at ~= seq then known[#known + 1] = who .. ' ' .. at end
  end
  if known[1] then
    call('HSET', IDS, id, table.concat(known, ','))
  else
    call('HDEL', IDS, id)
  end
  call('HDEL', LOG, seq)
  call('HDEL', TO, seq)
  if thread and thread ~= id then call('ZREM', P .. 't:' .. thread, seq) end
  leaves_history(sender, seq)
  for i = 1, #names do
    call('HDEL', COPIES, seq .. ':' .. names[i])
    leaves_history(names[i], seq)
  end
end

-- Takes a run of which all is done out of the log.
local function remove_run(run)
  local first, member, ids_gone = runs.name(run), runs.member(run), {}
  local names = runs.head(first)[1]
  runs.load_ids(names)
  for n = 1, #names do
    local left = runs.renamed(ids[names[n]] or '', run[RUN_SENDER], first)
    ids[names[n]] = left
    if left then hset(IDS, names[n], left) else ids_gone[#ids_gone + 1] = names[n] end
  end
  write('HDEL', IDS, ids_gone)
  for _, name in ipairs({ run[RUN_SENDER], run[RUN_TO] }) do
    call('ZREM', P .. 'h:' .. name, member)
    histories[name] = histories[name] or {}
  end
  runs.remove(run)
end

-- What retention does to a run: "stays", "gone" (all or the bodies; then how many, and the size of
-- what went), "done" for what follows is younger, "apart" when its messages differ in that.
local function trim_run(run, most_age, most_bytes, dedup_ms, dedup_ids)
  local n, ends = runs.count(run), run[RUN_ENDS]
  if run[RUN_LEFT] == n then return 'stays' end
  local size = run[RUN_TRIMMED] == 1 and 0 or page.upto(ends, n)
  local aged = run[RUN_AT] + most_age <= NOW
  if size > 0 and not aged and log_bytes <= most_bytes then return 'done' end
  local sent, young = box_of(run[RUN_SENDER]).v[SENT], run[RUN_AT] + dedup_ms > NOW
  local function is_known(nth) return young and sent - nth < dedup_ids end
  local known = is_known(run[RUN_NTH])
  if run[RUN_LEFT] > 0 or known ~= is_known(run[RUN_NTH] + n - 1)
    or (size > 0 and not aged and log_bytes - page.upto(ends, n - 1) <= most_bytes) then
    return 'apart'
  end
  if known and size == 0 then return 'stays' end
  runs.keep_for_trail(run)
  if not known then
    remove_run(run)
    return 'gone', n, size
  end
  call('HDEL', BODIES, runs.name(run))
  run[RUN_TRIMMED] = 1
  runs.changed[runs.name(run)] = run
  return 'gone', n, size, true
end

local function trim(keys, argv)
  begin(keys, argv)
  local trail_left = drop_silent(args.archiver_ms, args.archiver_away_ms, args.trail_bytes)

  -- after, retention: max_age_ms, max_bytes, dedup_ms, dedup_ids; how many to look at and to remove
  local after, most_age, most_bytes, dedup_ms, dedup_ids, looks, most =
    args.after, args.max_age_ms, args.max_bytes, args.dedup_ms, args.dedup_ids, args.looks, args.most
  local begins = tonumber(call('HGET', STATE, 'first') or 1)
  local seq = math.max(after + 1, begins)
  local gap = seq == begins  -- whether all before `seq` is gone
  local gone, done = 0, false
  while not done and looks > 0 and gone < most and pointers < args.pointers do
    if seq > last_seq then
      done = true
      break
    end
    looks = looks - 1
    local name = fmt('%d', seq)
    local message = message_at(name)
    local jump = not message and call('HGET', P .. 'jumps', name)
    local stays, following = false, nil
    local run = not message and not jump and runs.load(name)
    if run then
      local what, n, size, known = trim_run(run, most_age, most_bytes, dedup_ms, dedup_ids)
      if what == 'done' then
        done = true
        break
      end
      following = run[RUN_LAST] + 1
      pointers = pointers + runs.count(run)
      stays = what == 'stays' or known
      if what == 'apart' then
        runs.take_apart(run)
        flush()
        following, stays = seq, false
      elseif what == 'gone' then
        gone, log_bytes, state_changed = gone + n, log_bytes - size, true
      end
    elseif message then
      local names = {}
      local waits = false
      for mailbox in string.gmatch(call('HGET', TO, name) or message[4][ADDRESS], '[^,]+') do
        names[#names + 1] = mailbox
        pointers = pointers + 1
      end
      local fields_of = {}
      for i = 1, #names do fields_of[i] = name .. ':' .. names[i] end
      load_copies(fields_of)
      for i = 1, #names do
        local held = copy_at(fields_of[i])
        if held and (held[SETTLED] == 0 or is_dead(held)) then
          waits = true
          break
        end
      end
      stays = true
      if not waits then
        local size = message[2]
        local aged = message[1] + most_age <= NOW
        if size > 0 and not aged and log_bytes <= most_bytes then
          done = true  -- what follows is younger
          break
        end
        local sender = box_of(message[4][SENDER])
        local later = sender.v[SENT] - message[3]
        local known = message[1] + dedup_ms > NOW and later < dedup_ids
        if not known then
          remove_message(name, message, names)
          stays = false
        elseif size > 0 then
          local entry = call('HGET', LOG, name)
          call('HSET', LOG, name, struct.pack('>dI4I4', message[1], 0, message[3])
            .. sub(entry, 17, #entry - size))
        end
        if size > 0 or not known then
          gone = gone + 1
          log_bytes = log_bytes - size
          state_changed = true
        end
      end
    end
    if stays and gap then
      gap = false
      hset(STATE, 'first', name)
    end
    seq = following or (jump and tonumber(jump) or seq + 1)
  end
  if gap then hset(STATE, 'first', fmt('%d', seq)) end
  shorten_histories()
  flush()
  return { gone, done and 0 or seq - 1, trail_left and 1 or false }
end
