-- What commits say, by the writer alone. `-- name: ...` begins a statement; {rows} stands for
-- as many rows of placeholders as are bound at once. Answers of many rows come as one JSON
-- array, because every row fetched would hand Python's interpreter lock back and forth.

-- name: insert_space
INSERT INTO spaces (name) VALUES (?);

-- name: order_folder
UPDATE spaces SET folder_order = ? WHERE id = ?;

-- name: insert_agent
INSERT INTO agents (space, name) VALUES (?, ?);

-- name: update_agent
UPDATE agents SET
    known = ?, capabilities = ?, groups = ?, epoch = ?, online = ?, ephemeral = ?,
    node = ?, session = ?, since = ?, lease_ms = ?, status = ?, paused = ?, folder = ?
WHERE id = ?;

-- name: set_counter
UPDATE counters SET value = ?2 WHERE name = ?1;

-- name: insert_copies
INSERT INTO copies (agent, seq, priority, size, hub, via, expires_at) VALUES {rows:7};

-- name: insert_changed
INSERT INTO copies (
    agent, seq, priority, size, hub, via, expires_at, attempts, deliveries, due_at,
    delivered_at, read_at, lease_until, settled_at, outcome, reason
) VALUES {rows:16};

-- name: folded
-- The last record of the journal that is in the tables.
SELECT value FROM counters WHERE name = 'journal';

-- name: carried
SELECT data FROM carried WHERE id = 1;

-- name: set_carried
UPDATE carried SET data = ? WHERE id = 1;

-- name: journal_of
SELECT value FROM counters WHERE name = 'journal_of';

-- name: find_ids
-- Where these (id, sender) are in the log.
SELECT json_group_array(i.seq)
FROM (VALUES {rows:2}) AS v
CROSS JOIN ids AS i ON i.id = v.column1 AND i.sender = v.column2;

-- name: load_copies
-- The copies at these (agent, seq).
SELECT json_group_array(json_array(
    c.agent, c.seq, c.priority, c.size, c.hub, c.via, c.expires_at, c.attempts, c.deliveries,
    c.due_at, c.delivered_at, c.read_at, c.lease_until, c.settled_at, c.outcome, c.reason
))
FROM (VALUES {rows:2}) AS v
CROSS JOIN copies AS c ON c.agent = v.column1 AND c.seq = v.column2;

-- name: settle_copies
UPDATE copies SET
    settled_at = v.column3, delivered_at = v.column4, outcome = 'done',
    due_at = NULL, lease_until = NULL
FROM (VALUES {rows:4}) AS v
WHERE copies.agent = v.column1 AND copies.seq = v.column2;

-- name: settle_alike
-- The same for copies of one mailbox that went out at the same moment.
UPDATE copies SET
    settled_at = ?, delivered_at = ?, outcome = 'done', due_at = NULL, lease_until = NULL
WHERE agent = ? AND seq IN (VALUES {rows:1});

-- name: update_copies
UPDATE copies SET
    attempts = v.column3, deliveries = v.column4, due_at = v.column5, delivered_at = v.column6,
    read_at = v.column7, lease_until = v.column8, settled_at = v.column9, outcome = v.column10,
    reason = v.column11
FROM (VALUES {rows:11}) AS v
WHERE copies.agent = v.column1 AND copies.seq = v.column2;

-- name: forget_ttl
UPDATE copies SET expires_at = NULL WHERE agent = ? AND seq = ?;

-- name: move_copies
UPDATE copies SET agent = v.column3
FROM (VALUES {rows:3}) AS v
WHERE copies.agent = v.column1 AND copies.seq = v.column2;

-- name: fetch_copies
SELECT json_group_array(json_array(seq, size, attempts, deliveries, via, expires_at))
FROM (
    SELECT seq, size, attempts, deliveries, via, expires_at
    FROM copies INDEXED BY copies_waiting
    WHERE agent = :agent AND settled_at IS NULL AND (priority, seq) > (:priority, :seq)
        AND (due_at IS NULL OR due_at <= :now OR due_at > :latest)
    ORDER BY priority, seq
    LIMIT :limit
);

-- name: next_due
SELECT min(due_at) FROM copies INDEXED BY copies_delayed
WHERE agent = ? AND due_at > ? AND due_at <= ?;

-- name: pool_copies
SELECT json_group_array(json_array(priority, seq, expires_at, attempts, deliveries))
FROM (
    SELECT priority, seq, expires_at, attempts, deliveries
    FROM copies INDEXED BY copies_waiting
    WHERE agent = :agent AND settled_at IS NULL AND (priority, seq) > (:priority, :seq)
    ORDER BY priority, seq
    LIMIT :limit
);

-- name: capability_copies
-- The unsettled '@' mail of an agent.
SELECT json_group_array(seq)
FROM (
    SELECT seq
    FROM copies INDEXED BY copies_waiting
    WHERE agent = ? AND settled_at IS NULL AND via IS NOT NULL
    ORDER BY priority, seq
);

-- name: expired_copies
SELECT json_group_array(json_array(expires_at, name, seq, attempts, deliveries, via))
FROM (
    SELECT c.expires_at, a.name, c.seq, c.attempts, c.deliveries, c.via
    FROM copies AS c INDEXED BY copies_expiring
    CROSS JOIN agents AS a ON a.id = c.agent
    WHERE c.expires_at <= :now AND c.settled_at IS NULL AND a.space = :space
        AND (c.expires_at, c.seq, a.name) > (:at, :seq, :mailbox)
    ORDER BY c.expires_at, c.seq, a.name
    LIMIT :limit
);

-- name: next_expiry
SELECT c.expires_at
FROM copies AS c INDEXED BY copies_expiring
CROSS JOIN agents AS a ON a.id = c.agent
WHERE c.expires_at > :now AND c.settled_at IS NULL AND a.space = :space
ORDER BY c.expires_at
LIMIT 1;

-- name: counters
SELECT name, value FROM counters;

-- name: last_seq
SELECT last FROM pages WHERE first = (SELECT max(first) FROM pages);

-- name: newest_id
SELECT max(id) FROM ids;

-- name: bytes_after
SELECT ifnull(sum(bytes), 0) FROM pages WHERE first > ?;

-- name: spaces
SELECT id, name, folder_order FROM spaces;

-- name: agents
SELECT
    id, space, name, known, capabilities, groups, epoch, online, ephemeral, node, session,
    since, lease_ms, status, paused, folder
FROM agents;

-- name: mailboxes
-- What every mailbox holds.
SELECT agent, priority, hub, via IS NOT NULL, count(*), sum(size)
FROM copies INDEXED BY copies_waiting
WHERE settled_at IS NULL
GROUP BY 1, 2, 3, 4;

-- name: leased_copies
SELECT agent, seq
FROM copies INDEXED BY copies_waiting
WHERE settled_at IS NULL AND lease_until IS NOT NULL;

-- name: end_revocations
DELETE FROM revocations WHERE space = ? AND until <= ?;

-- name: revocation
SELECT issued_before, until FROM revocations
WHERE space = ? AND token_id = ? AND agent = ?;

-- name: put_revocation
INSERT OR REPLACE INTO revocations (space, token_id, agent, issued_before, until)
VALUES (?, ?, ?, ?, ?);

-- name: insert_trail
INSERT INTO trail (place, at, node, done) VALUES {rows:4};

-- name: trail_bytes
SELECT ifnull(sum(length(done)), 0) FROM trail WHERE place BETWEEN ? AND ?;

-- name: trail_begins
SELECT min(place) FROM trail WHERE place BETWEEN ? AND ?;

-- name: remove_trail
DELETE FROM trail WHERE place BETWEEN ? AND ?;

-- name: trails
SELECT space, last FROM trails;

-- name: set_trail
INSERT INTO trails (space, last) VALUES (?, ?)
ON CONFLICT (space) DO UPDATE SET last = excluded.last;

-- name: all_archivers
SELECT space, node, upto, at, dropped, heads FROM archivers;

-- name: set_archiver
INSERT INTO archivers (space, node, upto, at, dropped, heads) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (space, node) DO UPDATE SET
    upto = excluded.upto, at = excluded.at, dropped = excluded.dropped, heads = excluded.heads;

-- name: remove_archiver
DELETE FROM archivers WHERE space = ? AND node = ?;

-- name: set_digests
INSERT OR REPLACE INTO digests (space, node, number, digest) VALUES {rows:4};

-- name: remove_digests
-- All but the newest.
DELETE FROM digests WHERE space = :space AND node = :node AND number <= (
    SELECT number FROM digests WHERE space = :space AND node = :node
    ORDER BY number DESC LIMIT 1 OFFSET :keep
);
