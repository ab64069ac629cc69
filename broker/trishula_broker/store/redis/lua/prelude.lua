-- Commits a batch of operations of one namespace. The files of this directory that make up the
-- library are joined in the order that scripts.py tells; each says what it keeps in Redis.
--
-- keys[1]  "trishula:{<namespace>}:", with which every key of the namespace begins. The tag in
--          braces keeps them on one shard.
-- argv[1]  MessagePack: what all batches of a node have in common, see space.py
-- argv[2]  MessagePack: the operations, an array each: its code, then its fields
-- argv[3]  the time, empty for that of Redis; then, of this batch alone: until when it may be done,
--          the last epoch that the node has seen, 1 for the first one of a process, and 1 where no
--          node of a version without runs can be
-- argv[8]  of each run among the operations what is said of its messages, MessagePack, and their
--          bodies: neither is taken apart here, for each byte of a string that is made costs
--
-- Redis runs the text once, and its functions for each batch: what one batch knows must be
-- forgotten before the next, which may be of another namespace. Each file says how.
--
-- Reads come before writes where an operation can be refused. Writes are collected and made many
-- at a time, because a call costs more than what most of them do; whoever asks Redis about a
-- range of a sorted set calls flush() first. A mistake in the middle would leave half a batch:
-- Lua does not roll back. So everything that can be wrong with an argument is found out by the
-- types of the caller, and no command below is used on a key of another type.
local P, args, ops, given, given_runs
local packed_args  -- what `args` was unpacked from
local BEGIN = {}  -- functions that are called before each batch
local NAMES = {}  -- those that make the names of keys, when it is of another namespace

-- What Redis does not give to a library before it is called.
local call, fmt, sub, find, byte, floor, pack, unpack_blob, unpack_list

local clock, NOW, NODE, DELAYS

-- Keys that a batch touches many times. More are beside what uses them.
local STATE    -- hash: seq, epoch, bytes, first, ended; leader, lead (nodes.lua)
local LOG      -- hash: seq -> entry: 16 bytes (accepted_at, size of the body, its
                              -- number among its sender's messages), header, body unless trimmed
local IDS      -- hash: id -> "sender seq", more of them after commas: dedup, trace
local COPIES   -- hash: "seq:mailbox" -> copy, see space.lua
local BOXES    -- hash: mailbox -> counters, see space.lua

NAMES[#NAMES + 1] = function()
  STATE, LOG, IDS, COPIES, BOXES = P .. 'state', P .. 'log', P .. 'ids', P .. 'copies', P .. 'boxes'
end

-- Writes that wait, by key. A key's members are added before others are removed: what is removed
-- and added again has them written in between.
local fields, added, removed

local function begin(keys, argv)
  call, floor = redis.call, math.floor
  fmt, sub, find, byte = string.format, string.sub, string.find, string.byte
  pack, unpack_blob, unpack_list = cmsgpack.pack, cmsgpack.unpack, unpack
  if argv[1] ~= packed_args then
    packed_args = argv[1]
    args = unpack_blob(packed_args)
  end
  args.now, args.deadline, args.epoch = tonumber(argv[3]), tonumber(argv[4]), tonumber(argv[5])
  args.arriving, args.alike = argv[6] == '1', argv[7] == '1'
  given_runs = argv
  given = argv[2]
  ops = unpack_blob(given)
  clock = call('TIME')
  clock = clock[1] * 1000 + floor(clock[2] / 1000)
  NOW, NODE, DELAYS = args.now or clock, args.node, args.delays
  fields, added, removed = {}, {}, {}
  if keys[1] ~= P then
    P = keys[1]
    for i = 1, #NAMES do NAMES[i]() end
  end
  for i = 1, #BEGIN do BEGIN[i]() end
end

-- Arguments of a call: Lua's stack takes 8000.
local MOST = 4000  -- constant

local function write(command, key, list)
  local n = #list
  if n <= MOST then
    if n > 0 then call(command, key, unpack_list(list)) end
    return
  end
  for i = 1, n, MOST do
    call(command, key, unpack_list(list, i, math.min(i + MOST - 1, n)))
  end
end

local function fields_of(key)
  local list = fields[key]
  if not list then
    list = {}
    fields[key] = list
  end
  return list
end

local function hset(key, field, value)
  local list = fields_of(key)
  local n = #list
  list[n + 1] = field
  list[n + 2] = value
end

-- Scores and members that are to be added to a sorted set, in turn.
local function added_to(key)
  local gone = removed[key]
  if gone then
    if added[key] then
      write('ZADD', key, added[key])
      added[key] = nil
    end
    write('ZREM', key, gone)
    removed[key] = nil
  end
  local list = added[key]
  if not list then
    list = {}
    added[key] = list
  end
  return list
end

-- A score that is text costs Redis less than a number, which it prints with all of its digits.
local function zadd(key, score, member)
  local list = added_to(key)
  local n = #list
  list[n + 1] = score
  list[n + 2] = member
end

local function removed_from(key)
  local list = removed[key]
  if not list then
    list = {}
    removed[key] = list
  end
  return list
end

local function zrem(key, member)
  local list = removed_from(key)
  list[#list + 1] = member
end

local function flush_writes()
  for key, list in pairs(fields) do write('HSET', key, list) end
  for key, list in pairs(added) do write('ZADD', key, list) end
  for key, list in pairs(removed) do write('ZREM', key, list) end
  fields, added, removed = {}, {}, {}
end

-- Many fields of a hash at once, however many.
local function hmget(key, names)
  local n = #names
  if n == 0 then return {} end
  if n <= MOST then return call('HMGET', key, unpack_list(names)) end
  local found = {}
  for i = 1, n, MOST do
    local part = call('HMGET', key, unpack_list(names, i, math.min(i + MOST - 1, n)))
    for j = 1, #part do found[i + j - 1] = part[j] end
  end
  return found
end
