-- What a commit means for other nodes: at its end one message to each node that is concerned.
--   hints:<node>   channel; a message is the number of it, then the hints, see hints.py
--   runs:<node>    channel; of each run among these hints, before them, a message with what is said of
--                  its messages, and one with their bodies
--   told           hash: node -> the number of the last message to it
local TOLD
local hints  -- by node: strings, each with its length in front
local hinted_runs  -- by node: heads and bodies of runs that go before the hints

NAMES[#NAMES + 1] = function() TOLD = P .. 'told' end
BEGIN[#BEGIN + 1] = function() hints, hinted_runs = {}, {} end

local function hints_to(node)
  local list = hints[node]
  if not list then
    list = { '' }  -- where its number will be
    hints[node] = list
  end
  return list
end

local function hint(node, ...)
  if node == NODE then return end
  local list = hints_to(node)
  for i = 1, select('#', ...) do
    local text = tostring(select(i, ...))
    list[#list + 1] = struct.pack('>I4c0', #text, text)
  end
end

-- The mailbox `name` has a new copy. It goes along when it is small and may go out at once.
local function hint_mail(name, seq, held, entry)
  local node = node_of(name)
  if not node or node == NODE then return end
  if held[1] > args.hint_bytes or held[ATTEMPTS] > 0 or held[DUE] > 0 then
    hint(node, 'look', name)
    return
  end
  local kind, deliveries = fmt('%d', held[KIND]), fmt('%d', held[DELIVERIES])
  local list = hints_to(node)  -- as hint() does it, but there are many of these
  list[#list + 1] = struct.pack('>I4c0I4c0I4c0I4c0I4c0I4c0', 4, 'mail', #name, name, #seq, seq,
    #kind, kind, #deliveries, deliveries, #entry, entry)
end

-- The same of `n` plain messages from `first` on, whose entries are in `told`, a length before each.
local function hint_mails(node, name, first, n, told)
  local list = hints_to(node)
  hint(node, 'mails', name, fmt('%d', first), fmt('%d', n))
  local at = #list
  for i = 1, #told do list[at + i] = told[i] end
end

-- The mailbox of a run has it; `packed` and `bodies` as they came.
local function hint_run(node, run, packed, bodies)
  hint(node, 'run', run[RUN_TO], run[RUN_SENDER], fmt('%d', run[RUN_LAST] - run[RUN_LEFT] + 1),
    fmt('%d', run[RUN_AT]), run[RUN_PRIORITY], run[RUN_ENDS])
  local list = hinted_runs[node] or {}
  hinted_runs[node] = list
  list[#list + 1] = packed
  list[#list + 1] = bodies
end

-- Up to 24 of `list` from `i` on, in one string.
local function some_of(list, i)
  local a, b, c, d, e, f, g, h, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y =
    unpack_list(list, i, i + 23)
  return a .. (b or '') .. (c or '') .. (d or '') .. (e or '') .. (f or '') .. (g or '')
    .. (h or '') .. (j or '') .. (k or '') .. (l or '') .. (m or '') .. (n or '') .. (o or '')
    .. (p or '') .. (q or '') .. (r or '') .. (s or '') .. (t or '') .. (u or '') .. (v or '')
    .. (w or '') .. (x or '') .. (y or '')
end

-- All of `list`. Each byte of every string that is made is hashed (Redis has Lua do so), and
-- table.concat makes each several times.
local function joined(list)
  while #list > 1 do
    local fewer = {}
    for i = 1, #list, 24 do fewer[#fewer + 1] = some_of(list, i) end
    list = fewer
  end
  return list[1]
end

-- Cluster nodes pass ordinary messages on to one another; sharded ones stay with the slot.
local function publish_hints()
  for node, list in pairs(hints) do
    local parts = hinted_runs[node] or {}
    for i = 1, #parts do call(args.publish, P .. 'runs:' .. node, parts[i]) end
    local number = call('HINCRBY', TOLD, node, 1)
    list[1] = struct.pack('>I4I4', floor(number / 2 ^ 32), number % 2 ^ 32)
    call(args.publish, P .. 'hints:' .. node, joined(list))
  end
end
