-- A namespace: its mailboxes and copies, read once, changed here, written by flush().
--
-- A mailbox is an agent's name, or "@" and a capability: that one's pool.
--   q:<mailbox>   sorted set: what waits, seq by priority * 2^48 + seq; of a run, see run.lua
--   h:<mailbox>   sorted set: what it sent or has a copy of, seq by seq; "first-last", by the first,
--                 is all of what one agent sent another in a row
--   d:<mailbox>   sorted set: what has a next attempt, seq by the time of it
--   reads         sorted set of score 0: "mailbox:seq" of what is read and leased
--   expiring      sorted set: "seq:mailbox" of what waits and expires, by the time of it
--   dead          sorted set: "seq:mailbox" of dead letters, by seq;  dead:<mailbox>  seq by seq
--   to            hash: seq -> mailboxes, joined by commas, where the header's `to` is not the one
--   pools         sorted set of score 0: capabilities whose pools hold something
--   from:<capability>  hash: sender -> how many of its messages are in the pool
local READS, EXPIRING, DEAD, TO, POOLS, GHOSTS, ORPHANS
local TRAIL  -- see trail.lua

NAMES[#NAMES + 1] = function()
  READS, EXPIRING, DEAD = P .. 'reads', P .. 'expiring', P .. 'dead'
  TO, POOLS, GHOSTS, ORPHANS = P .. 'to', P .. 'pools', P .. 'ghosts', P .. 'orphans'
  TRAIL = P .. 'trail'
end

-- Seqs are below 2^48: a score is exact up to 2^53.
local PLACE = 281474976710656  -- constant

-- The state of the namespace.
local last_seq, last_epoch, known_epoch, log_bytes, state_changed
local in_runs  -- whether all nodes know runs, see nodes.lua
local archivers, last_entry, trail_bytes

BEGIN[#BEGIN + 1] = function()
  local state = call('HMGET', STATE, 'seq', 'epoch', 'bytes', 'archivers', 'trail', 'trail_bytes',
    'in_runs')
  last_seq, last_epoch = tonumber(state[1] or 0), tonumber(state[2] or 0)
  known_epoch = last_epoch
  log_bytes, state_changed = tonumber(state[3] or 0), false
  archivers, last_entry = tonumber(state[4] or 0), tonumber(state[5] or 0)
  trail_bytes = tonumber(state[6] or 0)
  in_runs = args.alike or (state[7] and tonumber(state[7]) <= NOW)
end

-- A mailbox's counters: messages that wait, their bytes, the same without the hub's (which is
-- outside limits), how many came by a capability, and how many messages it ever sent.
local COUNT, SIZE, MESSAGES, BYTES, VIAS, SENT = 1, 2, 3, 4, 5, 6  -- constants
local boxes, changed_boxes

local function make_box(name, counters)
  local box = {
    name = name,
    v = counters and unpack_blob(counters) or { 0, 0, 0, 0, 0, 0 },
    q = P .. 'q:' .. name,
    h = P .. 'h:' .. name,
    d = P .. 'd:' .. name,
    pool = sub(name, 1, 1) == '@' and sub(name, 2) or nil,
  }
  boxes[name] = box
  return box
end

local function box_of(name)
  return boxes[name] or make_box(name, call('HGET', BOXES, name))
end

local function load_boxes(names)
  local missing = {}
  for i = 1, #names do
    local name = names[i]
    if boxes[name] == nil then
      missing[#missing + 1] = name
      boxes[name] = false
    end
  end
  local found = hmget(BOXES, missing)
  for i = 1, #missing do make_box(missing[i], found[i]) end
end

-- A copy: size of its body, what it is, then what became of it. Times are 0 until they come;
-- `outcome` and `reason` are there once it is settled. Only the first two are written for one
-- that nothing has happened to yet.
local KIND, ATTEMPTS, DELIVERIES, DUE, DELIVERED = 2, 3, 4, 5, 6  -- constants
local READ_AT, LEASE, SETTLED, OUTCOME, REASON = 7, 8, 9, 10, 11  -- constants
-- KIND is a sum: 1 from the hub, 2 by a capability, 4 expires.
local FROM_HUB = { [1] = true, [3] = true, [5] = true, [7] = true }
local BY_CAPABILITY = { [2] = true, [3] = true, [6] = true, [7] = true }
local EXPIRES = { [4] = true, [5] = true, [6] = true, [7] = true }
local copies, changed_copies  -- by "seq:mailbox"; false: not there
local part_of_run  -- in runs.lua

local function copy_at(field)
  local held = copies[field]
  if held == nil then held = call('HGET', COPIES, field) or part_of_run(field) end
  if type(held) == 'string' then
    held = unpack_blob(held)
    if not held[3] then
      for i = 3, 9 do held[i] = 0 end
    end
  end
  copies[field] = held
  return held
end

local function load_copies(names)
  local missing = {}
  for i = 1, #names do
    local field = names[i]
    if copies[field] == nil then
      missing[#missing + 1] = field
      copies[field] = false
    end
  end
  local found = hmget(COPIES, missing)
  -- One that is not there may be in a run.
  for i = 1, #missing do copies[missing[i]] = found[i] or nil end
end

-- Most copies are new, then done, and what they look like in Redis differs in nothing but size and
-- kind, and in times that many have in common: so they are neither packed nor unpacked one by one.
local packed_new  -- by size * 8 + kind
local news        -- {size, kind} by how it is packed
local ends        -- by when it was delivered, those that are done now by how they were packed;
                        -- at 1 the rest of such a one

BEGIN[#BEGIN + 1] = function() packed_new, news, ends = {}, {}, {} end

local function pack_new(size, kind)
  local packed = packed_new[size * 8 + kind]
  if not packed then
    packed = pack({ size, kind })
    packed_new[size * 8 + kind] = packed
    news[packed] = { size, kind }
  end
  return packed
end

-- The size and the kind of a copy that nothing has happened to, of how it is packed; else nil.
local function new_of(packed)
  if byte(packed) ~= 146 then return nil end  -- an array of two
  local new = news[packed]
  if not new then
    new = unpack_blob(packed)
    news[packed] = new
  end
  return new
end

-- What such a copy looks like once it was delivered `at`, and is done now.
local function pack_done(packed, at)
  local known = ends[at]
  if not known then  -- an array of ten, see OUTCOME
    known = { '\0\0\0' .. pack(at) .. '\0\0' .. pack(NOW) .. pack('done') }
    ends[at] = known
  end
  local done = known[packed]
  if not done then
    done = '\154' .. sub(packed, 2) .. known[1]
    known[packed] = done
  end
  return done
end

-- The copy when it is there and waits.
local function waiting(box, seq)
  local held = copy_at(seq .. ':' .. box.name)
  if held and held[SETTLED] == 0 then return held end
end

local function is_delayed(due) return NOW < due and due <= NOW + DELAYS[#DELAYS] end

-- Logged messages: {accepted_at, size, nth, header}, header as encoding.py has it.
local ID, SENDER, ADDRESS, PRIORITY, THREAD, TTL = 1, 2, 4, 5, 6, 8  -- constants
local messages
local entries  -- of LOG, that this batch makes

BEGIN[#BEGIN + 1] = function()
  boxes, changed_boxes, copies, changed_copies = {}, {}, {}, {}
  messages, entries = {}, {}
end

local function message_at(seq)
  local message = messages[seq]
  if message == nil then
    local stored = entries[seq] or call('HGET', LOG, seq)
    if not stored then return nil end
    local accepted_at, size, nth = struct.unpack('>dI4I4', stored)
    message = { accepted_at, size, nth, unpack_blob(sub(stored, 17, #stored - size)) }
    messages[seq] = message
  end
  return message
end

local runs_changed  -- in runs.lua

local function flush()
  runs_changed()
  for field, held in pairs(changed_copies) do hset(COPIES, field, pack(held)) end
  for name, box in pairs(changed_boxes) do hset(BOXES, name, pack(box.v)) end
  if state_changed then
    hset(STATE, 'seq', last_seq)
    if last_epoch ~= known_epoch then hset(STATE, 'epoch', last_epoch) end
    hset(STATE, 'bytes', log_bytes)
    state_changed = false
  end
  changed_copies, changed_boxes = {}, {}
  flush_writes()
end

-- What a copy that waits adds to its mailbox (by = 1), and takes away again (by = -1).
local note_absence  -- of an agent, in directory.lua

local function count(box, size, kind, by)
  local v = box.v
  v[COUNT] = v[COUNT] + by
  v[SIZE] = v[SIZE] + by * size
  if not FROM_HUB[kind] then
    v[MESSAGES] = v[MESSAGES] + by
    v[BYTES] = v[BYTES] + by * size
  end
  changed_boxes[box.name] = box
  if BY_CAPABILITY[kind] then
    v[VIAS] = v[VIAS] + by
    if not box.pool and (v[VIAS] == 0 or v[VIAS] == by) then note_absence(box.name) end
  end
end

local function due_member(seq, name) return fmt('%016d:%s', seq, name) end

local function pool_count(box, seq, by)
  local senders = P .. 'from:' .. box.pool
  local sender = message_at(seq)[4][SENDER]
  if call('HINCRBY', senders, sender, by) == 0 then call('HDEL', senders, sender) end
  if by < 0 and box.v[COUNT] == 0 then call('ZREM', POOLS, box.pool) end
  if by > 0 then call('ZADD', POOLS, 0, box.pool) end
end

local function hold(box, seq, held)
  local message = message_at(seq)
  copies[seq .. ':' .. box.name] = held
  changed_copies[seq .. ':' .. box.name] = held
  zadd(box.q, fmt('%d', message[4][PRIORITY] * PLACE + seq), seq)
  if EXPIRES[held[KIND]] then
    zadd(EXPIRING, message[1] + message[4][TTL], due_member(seq, box.name))
  end
  if held[DUE] > 0 then zadd(box.d, held[DUE], seq) end
  if held[LEASE] > 0 then zadd(READS, 0, box.name .. ':' .. seq) end
  count(box, held[1], held[KIND], 1)
  if box.pool then pool_count(box, seq, 1) end
end

local function release(box, seq, held)
  zrem(box.q, seq)
  if EXPIRES[held[KIND]] then zrem(EXPIRING, due_member(seq, box.name)) end
  if held[DUE] > 0 then zrem(box.d, seq) end
  if held[LEASE] > 0 then zrem(READS, box.name .. ':' .. seq) end
  count(box, held[1], held[KIND], -1)
  if box.pool then pool_count(box, seq, -1) end
end

local function set_due(box, seq, held, at)
  if at > 0 then
    zadd(box.d, at, seq)
  elseif held[DUE] > 0 then
    zrem(box.d, seq)
  end
  held[DUE] = at
end

local function set_lease(box, seq, held, until_)
  if until_ > 0 and held[LEASE] == 0 then
    zadd(READS, 0, box.name .. ':' .. seq)
  elseif until_ == 0 and held[LEASE] > 0 then
    zrem(READS, box.name .. ':' .. seq)
  end
  held[LEASE] = until_
end

-- An attempt ended without settling; answers when the next may begin.
local function end_attempt(box, seq, held)
  held[ATTEMPTS] = held[ATTEMPTS] + 1
  set_lease(box, seq, held, 0)
  set_due(box, seq, held, NOW + DELAYS[math.min(held[ATTEMPTS], #DELAYS)])
  changed_copies[seq .. ':' .. box.name] = held
  return held[DUE]
end

local function is_dead(held)
  return held[OUTCOME] == 'dead' or held[OUTCOME] == 'rejected'
end

-- Ends a copy; a dead letter may be ended once more.
local function settle(box, seq, held, outcome, reason)
  if held[SETTLED] == 0 then
    release(box, seq, held)
  elseif is_dead(held) then
    zrem(DEAD, seq .. ':' .. box.name)
    zrem(P .. 'dead:' .. box.name, seq)
  end
  held[DUE], held[LEASE] = 0, 0
  held[SETTLED], held[OUTCOME], held[REASON] = NOW, outcome, reason
  if is_dead(held) then
    zadd(DEAD, seq, seq .. ':' .. box.name)
    zadd(P .. 'dead:' .. box.name, seq, seq)
  end
  changed_copies[seq .. ':' .. box.name] = held
end

-- Hands a copy that waits to another mailbox, with its history. The caller has flushed.
local function move(box, seq, held, other)
  release(box, seq, held)
  local field = seq .. ':' .. box.name
  copies[field], changed_copies[field] = false, nil
  call('HDEL', COPIES, field)
  if message_at(seq)[4][SENDER] ~= box.name then zrem(box.h, seq) end
  hset(TO, seq, other.name)
  zadd(other.h, seq, seq)
  hold(other, seq, held)
end

-- A copy as Python reads it: see encoding.py.
local function shown(list)  -- of {seq, held}; `entry`, where it is in a run
  local seqs, places = {}, {}
  for i = 1, #list do
    if not list[i].entry then
      seqs[#seqs + 1] = list[i][1]
      places[i] = #seqs
    end
  end
  flush()
  local logged = hmget(LOG, seqs)
  local found = {}
  for i = 1, #list do
    local held = list[i][2]
    local entry = list[i].entry or logged[places[i]]
    found[i] = { list[i][1], held[KIND], held[ATTEMPTS], held[DELIVERIES], entry }
  end
  return found
end
