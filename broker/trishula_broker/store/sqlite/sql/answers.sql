-- What questions say, by readers and by the writer. The form is that of commit.sql.

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
-- The first unsettled copy of a mailbox.
SELECT min((
    SELECT seq FROM copies INDEXED BY copies_waiting
    WHERE agent = ? AND settled_at IS NULL AND priority = p.column1
    ORDER BY seq LIMIT 1
))
FROM (VALUES (1), (2), (3), (4), (5)) AS p;

-- name: copies_after
-- What an agent has a copy of, but for what is in the pages of the log alone.
SELECT json_group_array(seq)
FROM (SELECT seq FROM copies WHERE agent = :agent AND seq > :after ORDER BY seq LIMIT :limit);

-- name: thread_history
SELECT json_group_array(seq)
FROM (
    SELECT t.seq
    FROM (
        SELECT seq, sender FROM threads WHERE thread = :thread AND seq > :after
        UNION ALL
        SELECT seq, sender FROM ids WHERE id = :thread AND NOT threaded AND seq > :after
    ) AS t
    CROSS JOIN agents AS a ON a.id = t.sender
    WHERE a.space = (SELECT space FROM agents WHERE id = :agent)
    ORDER BY t.seq
    LIMIT :limit
);

-- name: in_thread
-- Whether an agent sent anything of a thread, or has a copy; but for what is in the pages alone.
SELECT EXISTS (
    SELECT 1 FROM threads AS t
    WHERE t.thread = :thread AND (t.sender = :agent OR EXISTS (
        SELECT 1 FROM copies AS c WHERE c.agent = :agent AND c.seq = t.seq))
) OR EXISTS (
    SELECT 1 FROM ids AS i
    WHERE i.id = :thread AND NOT i.threaded AND (i.sender = :agent OR EXISTS (
        SELECT 1 FROM copies AS c WHERE c.agent = :agent AND c.seq = i.seq))
);

-- name: thread_with
-- The messages of a thread that are in pages in which an agent has a part.
SELECT t.seq
FROM (
    SELECT seq FROM threads WHERE thread = :thread
    UNION ALL
    SELECT seq FROM ids WHERE id = :thread AND NOT threaded
) AS t
CROSS JOIN parts AS p ON p.agent = :agent AND p.first = (
    SELECT first FROM pages WHERE first <= t.seq ORDER BY first DESC LIMIT 1);

-- name: by_id
-- The messages of a namespace with an id.
SELECT json_group_array(seq)
FROM (
    SELECT i.seq
    FROM ids AS i
    CROSS JOIN agents AS a ON a.id = i.sender
    WHERE i.id = :id AND a.space = (SELECT space FROM agents WHERE id = :agent)
    ORDER BY i.seq
);

-- name: fates
-- Copies of a message: those of these mailboxes, and where '@' mail is now.
SELECT json_group_array(json_array(
    name, attempts, deliveries, delivered_at, read_at, settled_at, outcome, reason, due_at,
    lease_until
))
FROM (
    SELECT a.name, c.*
    FROM json_each(:agents) AS r
    CROSS JOIN copies AS c ON c.agent = r.value AND c.seq = :seq
    CROSS JOIN agents AS a ON a.id = c.agent
    UNION ALL
    SELECT a.name, c.*
    FROM copies AS c
    CROSS JOIN agents AS a ON a.id = c.agent
    WHERE c.seq = :seq AND c.via IS NOT NULL
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
