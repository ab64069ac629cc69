-- Answers a question about one namespace; the keys are those of commit.lua's files.
--
-- KEYS[1]  "trishula:{<namespace>}:"
-- ARGV     the question's name, then what it needs, see answers.py
local P = KEYS[1]
local call, pack, unpack_blob = redis.call, cmsgpack.pack, cmsgpack.unpack

local function each(key, names)
  local found = {}
  for i = 1, #names, 4000 do
    local part = call('HMGET', P .. key, unpack(names, i, math.min(i + 3999, #names)))
    for j = 1, #part do found[i + j - 1] = part[j] end
  end
  return found
end

-- Runs by the seq of the first, as text: {run, head, bodies}; false: none there, any more.
local runs = {}
local places = {}  -- seq -> the first of the run that it may be in; whoever finds a seq tells it

local function run_from(first)
  local found = runs[first]
  if found == nil then
    local run = call('HGET', P .. 'runs', first)
    found = run and { unpack_blob(run), unpack_blob(call('HGET', P .. 'runs:heads', first)),
      call('HGET', P .. 'runs:bodies', first) }
    runs[first] = found
  end
  return found
end

-- The run that `seq` is in, and its place there.
local function run_of(seq)
  local first = places[seq]
  local found = first and run_from(first)
  if found then return found, tonumber(seq) - tonumber(first) + 1 end
end

-- What each key has of `names`, of which those in a run are said by `of_run`.
local function each_or(key, names, seqs, of_run)
  local others, at, found = {}, {}, {}
  for i = 1, #seqs do
    local run, n = run_of(seqs[i])
    if run then
      found[i] = of_run(run, n, tonumber(seqs[i]))
    else
      others[#others + 1] = names[i]
      at[#others] = i
    end
  end
  local some = each(key, others)
  for i = 1, #others do found[at[i]] = some[i] end
  return found
end

local function entries_of(seqs)
  return each_or('log', seqs, seqs, function(run, n)
    return page.entry(run[1], run[2], run[3], n)
  end)
end

local function held_of(fields, seqs)
  return each_or('copies', fields, seqs, function(run, n, seq)
    return pack(page.copy(run[1], n, seq))
  end)
end

-- Seqs with their entries in the log: {seq, entry}.
local function messages(seqs)
  local entries, found = entries_of(seqs), {}
  for i = 1, #seqs do found[i] = { tonumber(seqs[i]), entries[i] } end
  return found
end

-- {seq, copy, entry} of what a mailbox has at `seqs`.
local function copies_of(fields, seqs)
  local held, entries, found = held_of(fields, seqs), entries_of(seqs), {}
  for i = 1, #seqs do found[i] = { tonumber(seqs[i]), held[i], entries[i] } end
  return found
end

local function header_of(seq)
  local entry = entries_of({ seq })[1]
  local _, size = struct.unpack('>dI4', entry)
  return unpack_blob(string.sub(entry, 17, #entry - size))
end

-- Seqs of the messages with this id, whoever sent them.
local function seqs_of(id)
  local seqs = {}
  for seq, in_run in string.gmatch(call('HGET', P .. 'ids', id) or '', ' (%d+)(%+?)') do
    local first = seq
    if in_run ~= '' then
      seq = string.format('%d', tonumber(first) + page.place(run_from(first)[2], id) - 1)
      places[seq] = first
    end
    seqs[#seqs + 1] = seq
  end
  return seqs
end

-- The first and the last of what a member of a history stands for, see space.lua.
local function bounds(member)
  local first, last = string.match(member, '^(%d+)-(%d+)$')
  return tonumber(first or member), tonumber(last or member)
end

-- The member of an agent's history that `seq` would be in, as a list of none or one.
local function around(agent, seq)
  return call('ZREVRANGEBYSCORE', P .. 'h:' .. agent, seq, '-inf', 'LIMIT', 0, 1)
end

local function took_part(agent, seq)
  local member = around(agent, seq)[1]
  if not member then return false end
  local _, last = bounds(member)
  return tonumber(seq) <= last
end

-- Seqs of an agent's history behind `after`, at most `limit`.
local function behind(agent, after, limit)
  local seqs, upto = {}, tonumber(after)
  local function take(members)
    for i = 1, #members do
      local first, last = bounds(members[i])
      for seq = math.max(first, upto + 1), last do
        if #seqs == limit then return end
        upto = seq
        seqs[#seqs + 1] = string.format('%d', seq)
        if first < last then places[seqs[#seqs]] = string.format('%d', first) end
      end
    end
  end
  take(around(agent, after))
  take(call('ZRANGEBYSCORE', P .. 'h:' .. agent, '(' .. after, '+inf', 'LIMIT', 0, limit))
  return seqs
end

local ANSWER = {}

-- name, or "" for all; group; capability that somebody online offers.
-- -> {name, agent, live, box, why it is paused}
function ANSWER.agents(name, group, capability)
  local names
  if name ~= '' then
    names = { name }
  elseif group ~= '' then
    names = call('ZRANGE', P .. 'g:' .. group, 0, -1)
  elseif capability ~= '' then
    -- Who is paused is not there; the caller sorts out who does not offer it.
    names = call('ZRANGE', P .. 'c:' .. capability, 0, -1)
    local paused = call('HKEYS', P .. 'paused')
    for i = 1, #paused do names[#names + 1] = paused[i] end
  else
    names = call('HKEYS', P .. 'agents')
  end
  local agents, lives, boxes = each('agents', names), each('live', names), each('boxes', names)
  local paused = each('paused', names)
  local found = {}
  for i = 1, #names do
    if agents[i] then found[#found + 1] = { names[i], agents[i], lives[i], boxes[i], paused[i] } end
  end
  return found
end

-- Seqs that wait, of members of a mailbox's queue; at most `limit`.
local function waiting(members, limit)
  local seqs = {}
  for i = 1, #members do
    local first, last = string.match(members[i], '^(%d+)-(%d+)$')
    local run = first and run_from(first)[1]
    for seq = tonumber(first or members[i]), tonumber(last or members[i]) do
      if #seqs == limit then return seqs end
      if not run or not page.done(run, seq) then
        seqs[#seqs + 1] = string.format('%d', seq)
        if run then places[seqs[#seqs]] = first end
      end
    end
  end
  return seqs
end

-- How many wait by priority, of `all`. A run counts once in the queue: they are looked at, but for
-- those of the priority that most have.
local function waiting_by_priority(q, all)
  local counts, ranges, most = {}, {}, 1
  for priority = 1, 5 do
    ranges[priority] = { priority * 2 ^ 48, '(' .. string.format('%d', (priority + 1) * 2 ^ 48) }
    counts[priority] = call('ZCOUNT', q, unpack(ranges[priority]))
    if counts[priority] > counts[most] then most = priority end
  end
  local others = 0
  for priority = 1, 5 do
    if priority ~= most and counts[priority] > 0 then
      local members, n = call('ZRANGEBYSCORE', q, unpack(ranges[priority])), 0
      for i = 1, #members do
        local first = string.match(members[i], '^(%d+)-')
        n = n + (first and run_from(first)[1][RUN_LEFT] or 1)
      end
      counts[priority] = n
      others = others + n
    end
  end
  counts[most] = all - others
  return counts
end

function ANSWER.peek(mailbox, limit)
  local q, box = P .. 'q:' .. mailbox, call('HGET', P .. 'boxes', mailbox)
  local counts, oldest = waiting_by_priority(q, box and unpack_blob(box)[1] or 0), nil
  for priority = 1, 5 do
    local from, to = priority * 2 ^ 48, '(' .. string.format('%d', (priority + 1) * 2 ^ 48)
    local first = waiting(call('ZRANGEBYSCORE', q, from, to, 'LIMIT', 0, 1), 1)[1]
    if first and (not oldest or tonumber(first) < tonumber(oldest)) then oldest = first end
  end
  local seqs = limit == '0' and {}
    or waiting(call('ZRANGE', q, 0, tonumber(limit) - 1), tonumber(limit))
  local fields = {}
  for i = 1, #seqs do fields[i] = seqs[i] .. ':' .. mailbox end
  return { box, counts, oldest and entries_of({ oldest })[1] or false, copies_of(fields, seqs) }
end

function ANSWER.history(agent, after, limit)
  local found, left = {}, tonumber(limit)
  repeat
    local seqs = behind(agent, after, left)
    local more = #seqs == left
    local some = messages(seqs)
    for i = 1, #some do
      -- A node of an earlier version may have taken what is in the middle out of the log.
      if some[i][2] then found[#found + 1] = some[i] end
    end
    after, left = seqs[#seqs], tonumber(limit) - #found
  until not more or left == 0
  return found
end

function ANSWER.thread(agent, thread, after, limit)
  local part = call('ZINTERCARD', 2, P .. 't:' .. thread, P .. 'h:' .. agent, 'LIMIT', 1) > 0
  local seqs = call('ZRANGEBYSCORE', P .. 't:' .. thread, '(' .. after, '+inf', 'LIMIT', 0, limit)
  -- Its first message is the one whose id it is.
  local known = seqs_of(thread)
  for i = 1, #known do
    local named = header_of(known[i])[6]
    if not named or named == thread then
      part = part or took_part(agent, known[i])
      if tonumber(known[i]) > tonumber(after) then seqs[#seqs + 1] = known[i] end
    end
  end
  if not part then return {} end
  table.sort(seqs, function(a, b) return tonumber(a) < tonumber(b) end)
  for i = #seqs, limit + 1, -1 do seqs[i] = nil end
  return messages(seqs)
end

-- -> {{seq, entry}, mailboxes, copies} of each message
function ANSWER.trace(agent, id)
  local found = {}
  local seqs = seqs_of(id)
  for i = 1, #seqs do
    local seq = seqs[i]
    if took_part(agent, seq) then
      local names, fields = {}, {}
      local to = call('HGET', P .. 'to', seq) or header_of(seq)[4]
      for name in string.gmatch(to, '[^,]+') do
        names[#names + 1] = name
        fields[#fields + 1] = seq .. ':' .. name
      end
      local here = {}
      for i = 1, #names do here[i] = seq end
      found[#found + 1] = { messages({ seq })[1], names, held_of(fields, here) }
    end
  end
  return found
end

-- mailbox, or "" for all. -> {mailbox, {seq, copy, entry}}
function ANSWER.dead(mailbox, after, limit)
  local key = mailbox == '' and 'dead' or 'dead:' .. mailbox
  local members = call('ZRANGEBYSCORE', P .. key, '(' .. after, '+inf', 'LIMIT', 0, limit)
  local names, fields, seqs = {}, {}, {}
  for i = 1, #members do
    fields[i] = mailbox == '' and members[i] or members[i] .. ':' .. mailbox
    local colon = string.find(fields[i], ':', 1, true)
    seqs[i], names[i] = string.sub(fields[i], 1, colon - 1), string.sub(fields[i], colon + 1)
  end
  return { names, copies_of(fields, seqs) }
end

-- -> {leader, lead, {name, node, agents online there}...}
function ANSWER.nodes()
  local found = { call('HGET', P .. 'state', 'leader'), call('HGET', P .. 'state', 'lead') }
  local all = call('HGETALL', P .. 'nodes')
  for i = 1, #all, 2 do
    found[#found + 1] = { all[i], all[i + 1], call('ZCARD', P .. 'n:' .. all[i]) }
  end
  return found
end

-- -> field, value...; see sessions.lua
function ANSWER.revoked() return call('HGETALL', P .. 'revoked') end

-- after, limit, bytes -> position, position... of entries that are no more together; who asks gets
-- them with HMGET, for what passes through Lua is hashed there, byte by byte.
function ANSWER.trail(after, limit, limit_bytes)
  local state = call('HMGET', P .. 'state', 'trail', 'trail_first')
  local last, first = tonumber(state[1] or 0), tonumber(state[2] or 1)
  local found, left = {}, tonumber(limit_bytes)
  for pos = math.max(tonumber(after) + 1, first), last do
    if #found == tonumber(limit) then break end
    local size = call('HSTRLEN', P .. 'trail', string.format('%d', pos))
    left = left - size
    if size == 0 or (left < 0 and found[1]) then break end
    found[#found + 1] = pos
  end
  return found
end

-- The first block -> {node, archiver, heads, {number, digest}...} of each
function ANSWER.archives(since)
  local found, all = {}, call('HGETALL', P .. 'archivers')
  for i = 1, #all, 2 do
    local node, newest = all[i], unpack_blob(all[i + 1])[4]
    local numbers = {}
    for number = math.max(tonumber(since), newest - 9999, 0), newest do
      numbers[#numbers + 1] = string.format('%d', number)
    end
    local digests, known = each('digests:' .. node, numbers), {}
    for j = 1, #numbers do
      if digests[j] then known[#known + 1] = { tonumber(numbers[j]), digests[j] } end
    end
    found[#found + 1] = { node, all[i + 1], call('HVALS', P .. 'heads:' .. node), known }
  end
  return found
end

return ANSWER[ARGV[1]](unpack(ARGV, 2))
