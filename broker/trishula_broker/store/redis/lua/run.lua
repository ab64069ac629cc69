-- A run: plain messages of one agent to another that were accepted together, as they are kept.
--   runs         hash: seq of the first -> array, as below
--   runs:heads   hash: likewise -> array of the ids, the types, whether receipts are wanted; one
--                type, one answer to that, is that of all
--   runs:bodies  hash: likewise -> the bodies, one behind the other, unless they were trimmed
--   runs:kept    hash: likewise -> heads and bodies, where the trail alone still needs them;
--   runs:kept_at sorted set: likewise, by the position of the entry that does
-- RUN_ENDS has where each body ends, four bytes each; RUN_LEFT how many wait. From RUN_DONE on are,
-- four each, the first and the last of those that are done, when they were delivered, and settled.
local RUN_LAST, RUN_SENDER, RUN_TO, RUN_PRIORITY = 1, 2, 3, 4  -- constants
local RUN_NTH, RUN_AT, RUN_POS, RUN_ENDS = 5, 6, 7, 8  -- constants
local RUN_TRIMMED, RUN_LEFT, RUN_DONE = 9, 10, 11  -- constants
local page = {}

-- Where the body of the `n`th ends, which is how large those up to it are.
function page.upto(ends, n)
  if n == 0 then return 0 end
  return (struct.unpack('>I4', ends, 4 * n - 3))
end

-- When `seq` was delivered and when it was done; nil while it waits.
function page.done(run, seq)
  for i = RUN_DONE, #run, 4 do
    if run[i] <= seq and seq <= run[i + 1] then return run[i + 2], run[i + 3] end
  end
end

function page.size(run, n)
  return page.upto(run[RUN_ENDS], n) - page.upto(run[RUN_ENDS], n - 1)
end

-- What it says of the `n`th before its body, as it is in an entry of the log.
function page.header(run, head, n)
  local pack, kind, receipt = cmsgpack.pack, head[2], head[3]
  if type(kind) == 'table' then kind = kind[n] end
  if type(receipt) == 'table' then receipt = receipt[n] end
  return '\152' .. pack(head[1][n]) .. pack(run[RUN_SENDER]) .. pack(kind) .. pack(run[RUN_TO])
    .. pack(run[RUN_PRIORITY]) .. '\192' .. (receipt and '\195' or '\194') .. '\192'
end

function page.body(run, bodies, n)
  return string.sub(bodies, page.upto(run[RUN_ENDS], n - 1) + 1, page.upto(run[RUN_ENDS], n))
end

-- The `n`th as an entry of the log.
function page.entry(run, head, bodies, n)
  local body = bodies and page.body(run, bodies, n) or ''
  return struct.pack('>dI4I4', run[RUN_AT], #body, (run[RUN_NTH] + n - 1) % 4294967296)
    .. page.header(run, head, n) .. body
end

-- The copy of the `n`th, which is `seq`.
function page.copy(run, n, seq)
  local delivered, settled = page.done(run, seq)
  if not settled then return { page.size(run, n), 0 } end
  return { page.size(run, n), 0, 0, 0, 0, delivered, 0, 0, settled, 'done' }
end

-- Which of it has that id.
function page.place(head, id)
  for n = 1, #head[1] do
    if head[1][n] == id then return n end
  end
end
