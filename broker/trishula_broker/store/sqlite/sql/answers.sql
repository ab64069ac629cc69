-- What questions say, by readers and by the writer. The form is that of commit.sql.

-- name: messages
-- The messages at these seqs; bodies in hexadecimal, which any bytes survive in JSON.
SELECT json_group_array(json_array(
    l.seq, l.id, a.name, l.type, l.dest, l.priority, l.thread, l.receipt, l.accepted_at,
    l.expires_at, hex(l.body)
))
FROM (VALUES {rows:1}) AS v
CROSS JOIN log AS l ON l.seq = v.column1
CROSS JOIN agents AS a ON a.id = l.sender;

-- name: mailbox
SELECT a.id FROM spaces AS s CROSS JOIN agents AS a ON a.space = s.id
WHERE s.name = ? AND a.name = ?;

-- name: heads
SELECT json_group_array(json_array(seq, size, attempts, deliveries, via, expires_at))
FROM (
    SELECT seq, size, attempts, deliveries, via, expires_at
    FROM copies INDEXED BY copies_waiting
    WHERE agent = ? AND settled_at IS NULL
    ORDER BY priority, seq
    LIMIT ?
);

-- name: oldest
-- When the first unsettled copy of a mailbox was accepted.
SELECT accepted_at
FROM log
WHERE seq = (
    SELECT min((
        SELECT seq FROM copies INDEXED BY copies_waiting
        WHERE agent = ? AND settled_at IS NULL AND priority = p.column1
        ORDER BY seq LIMIT 1
    ))
    FROM (VALUES (1), (2), (3), (4), (5)) AS p
);

-- name: own_history
SELECT json_group_array(seq)
FROM (
    SELECT seq FROM (SELECT seq FROM log WHERE sender = :agent AND seq > :after
        ORDER BY seq LIMIT :limit)
    UNION
    SELECT seq FROM (SELECT seq FROM copies WHERE agent = :agent AND seq > :after
        ORDER BY seq LIMIT :limit)
    ORDER BY seq
    LIMIT :limit
);

-- name: thread_history
SELECT json_group_array(seq)
FROM (
    SELECT l.seq
    FROM (
        SELECT seq, sender FROM log WHERE thread = :thread AND seq > :after
        UNION ALL
        SELECT seq, sender FROM log WHERE id = :thread AND thread IS NULL AND seq > :after
    ) AS l
    CROSS JOIN agents AS a ON a.id = l.sender
    WHERE a.space = (SELECT space FROM agents WHERE id = :agent)
    ORDER BY l.seq
    LIMIT :limit
);

-- name: in_thread
-- Whether an agent sent or received anything of a thread.
SELECT EXISTS (
    SELECT 1 FROM log AS l
    WHERE l.thread = :thread AND (l.sender = :agent OR EXISTS (
        SELECT 1 FROM copies AS c WHERE c.agent = :agent AND c.seq = l.seq))
) OR EXISTS (
    SELECT 1 FROM log AS l
    WHERE l.id = :thread AND l.thread IS NULL AND (l.sender = :agent OR EXISTS (
        SELECT 1 FROM copies AS c WHERE c.agent = :agent AND c.seq = l.seq))
);

-- name: by_id
-- The messages of a namespace with an id, and whether the agent sent each.
SELECT l.seq, l.sender = :agent
FROM log AS l
CROSS JOIN agents AS a ON a.id = l.sender
WHERE l.id = :id AND a.space = (SELECT space FROM agents WHERE id = :agent)
ORDER BY l.seq;

-- name: fates
-- Every copy of a message: of its one recipient, of a fan-out's, or where '@' mail is now.
SELECT json_group_array(json_array(
    name, attempts, deliveries, delivered_at, read_at, settled_at, outcome, reason, due_at,
    lease_until
))
FROM (
    SELECT a.name, c.*
    FROM log AS l
    CROSS JOIN agents AS s ON s.id = l.sender
    CROSS JOIN agents AS a ON a.space = s.space AND a.name = l.dest
    CROSS JOIN copies AS c ON c.agent = a.id AND c.seq = l.seq AND c.via IS NULL
    WHERE l.seq = :seq
    UNION ALL
    SELECT a.name, c.*
    FROM log AS l
    CROSS JOIN json_each(l.recipients) AS r
    CROSS JOIN agents AS a ON a.id = r.value
    CROSS JOIN copies AS c ON c.agent = a.id AND c.seq = l.seq
    WHERE l.seq = :seq
    UNION ALL
    SELECT a.name, c.*
    FROM copies AS c
    CROSS JOIN agents AS a ON a.id = c.agent
    WHERE c.seq = :seq AND c.via IS NOT NULL
    ORDER BY 1
);

-- name: dead_letters
SELECT json_group_array(json_array(
    name, seq, expires_at, attempts, deliveries, via, outcome, reason, settled_at
))
FROM (
    SELECT a.name, c.*
    FROM agents AS a
    CROSS JOIN copies AS c INDEXED BY copies_dead ON c.agent = a.id
    WHERE a.id = :agent AND c.outcome IN ('dead', 'rejected') AND c.seq > :after
    ORDER BY c.seq
    LIMIT :limit
);

-- name: all_dead_letters
SELECT json_group_array(json_array(
    name, seq, expires_at, attempts, deliveries, via, outcome, reason, settled_at
))
FROM (
    SELECT a.name, c.*
    FROM copies AS c INDEXED BY copies_dead_all
    CROSS JOIN agents AS a ON a.id = c.agent
    WHERE c.outcome IN ('dead', 'rejected') AND c.seq > :after
        AND a.space = (SELECT id FROM spaces WHERE name = :space)
    ORDER BY c.seq, a.name
    LIMIT :limit
);

-- name: revocations
SELECT r.token_id, r.agent, r.issued_before, r.until
FROM spaces AS s CROSS JOIN revocations AS r ON r.space = s.id
WHERE s.name = ?
ORDER BY r.token_id, r.agent;

-- name: trail
SELECT t.place & 0xffffffffff, t.at, t.node, t.done
FROM spaces AS s
CROSS JOIN trail AS t ON t.place BETWEEN s.id * 0x10000000000 + :after + 1
    AND s.id * 0x10000000000 + 0xffffffffff
WHERE s.name = :space
ORDER BY t.place
LIMIT :limit;

-- name: archivers
SELECT a.node, a.upto, a.at, a.heads, a.dropped
FROM spaces AS s
CROSS JOIN archivers AS a ON a.space = s.id
WHERE s.name = ?
ORDER BY a.node;

-- name: digests
SELECT d.node, d.number, d.digest
FROM spaces AS s
CROSS JOIN digests AS d ON d.space = s.id
WHERE s.name = :space AND d.number >= :since
ORDER BY d.node, d.number;
