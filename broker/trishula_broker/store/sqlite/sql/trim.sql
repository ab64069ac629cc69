-- What trimming says. The form is that of commit.sql.

-- name: look
-- A piece of the log, oldest first, and whether something still needs each message: a copy
-- that is not settled, or a dead letter.
SELECT json_group_array(json_array(seq, sender, accepted_at, size, needed))
FROM (
    SELECT l.seq, l.sender, l.accepted_at, l.size,
        EXISTS (
            SELECT 1
            FROM agents AS s
            CROSS JOIN agents AS a ON a.space = s.space AND a.name = l.dest
            CROSS JOIN copies AS c ON c.agent = a.id AND c.seq = l.seq
            WHERE s.id = l.sender
                AND (c.settled_at IS NULL OR c.outcome IN ('dead', 'rejected'))
        ) OR EXISTS (
            SELECT 1
            FROM json_each(l.recipients) AS r
            CROSS JOIN copies AS c ON c.agent = r.value AND c.seq = l.seq
            WHERE c.settled_at IS NULL OR c.outcome IN ('dead', 'rejected')
        ) OR EXISTS (
            SELECT 1 FROM copies AS c
            WHERE c.seq = l.seq AND c.via IS NOT NULL
                AND (c.settled_at IS NULL OR c.outcome IN ('dead', 'rejected'))
        ) AS needed
    FROM log AS l
    WHERE l.seq > ?
    ORDER BY l.seq
    LIMIT ?
);

-- name: nth_last
-- The place of a sender's nth last message; what is before it is outside the dedup window.
SELECT seq FROM log WHERE sender = ? ORDER BY seq DESC LIMIT 1 OFFSET ?;

-- name: make_doomed
CREATE TEMP TABLE IF NOT EXISTS doomed (seq INTEGER PRIMARY KEY, keep INTEGER NOT NULL);

-- name: make_shortened
CREATE TEMP TABLE IF NOT EXISTS shortened AS SELECT * FROM log LIMIT 0;

-- name: forget_doomed
DELETE FROM temp.doomed;

-- name: forget_shortened
DELETE FROM temp.shortened;

-- name: doom
INSERT INTO temp.doomed (seq, keep) VALUES {rows:2};

-- name: doomed_bytes
SELECT ifnull(sum(l.size), 0)
FROM temp.doomed AS d
CROSS JOIN log AS l ON l.seq = d.seq;

-- name: remove_direct
DELETE FROM copies WHERE (agent, seq) IN (
    SELECT a.id, l.seq
    FROM temp.doomed AS d
    CROSS JOIN log AS l ON l.seq = d.seq
    CROSS JOIN agents AS s ON s.id = l.sender
    CROSS JOIN agents AS a ON a.space = s.space AND a.name = l.dest
    WHERE NOT d.keep
);

-- name: remove_fanned_out
DELETE FROM copies WHERE (agent, seq) IN (
    SELECT r.value, l.seq
    FROM temp.doomed AS d
    CROSS JOIN log AS l ON l.seq = d.seq
    CROSS JOIN json_each(l.recipients) AS r
    WHERE NOT d.keep
);

-- name: remove_assigned
DELETE FROM copies WHERE (agent, seq) IN (
    SELECT c.agent, c.seq
    FROM temp.doomed AS d
    CROSS JOIN copies AS c ON c.seq = d.seq AND c.via IS NOT NULL
    WHERE NOT d.keep
);

-- name: shorten
INSERT INTO temp.shortened
SELECT
    l.seq, l.sender, l.id, l.type, l.dest, l.priority, l.thread, l.receipt, l.accepted_at,
    l.expires_at, l.recipients, 0, x''
FROM temp.doomed AS d
CROSS JOIN log AS l ON l.seq = d.seq
WHERE d.keep;

-- name: remove_messages
-- Shortened ones too: written anew they fill their pages, and the emptied pages can be used
-- again, which pages whose rows shrank in place cannot.
DELETE FROM log WHERE seq IN (SELECT seq FROM temp.doomed);

-- name: restore_shortened
INSERT INTO log SELECT * FROM temp.shortened;

-- name: unknown_agents
-- Names nobody goes by any more and nothing points to.
SELECT json_group_array(id)
FROM (
    SELECT a.id
    FROM agents AS a
    WHERE NOT a.known AND a.name NOT LIKE '@%'
        AND NOT EXISTS (SELECT 1 FROM log AS l WHERE l.sender = a.id)
        AND NOT EXISTS (SELECT 1 FROM copies AS c WHERE c.agent = a.id)
    LIMIT 1000
);

-- name: remove_agents
DELETE FROM agents WHERE id IN (VALUES {rows:1});
