-- What trimming says. The form is that of commit.sql.

-- name: needed
-- Which of these (mailbox, seq) somebody still needs: not settled, or a dead letter.
SELECT json_group_array(c.seq)
FROM (VALUES {rows:2}) AS v
CROSS JOIN copies AS c ON c.agent = v.column1 AND c.seq = v.column2
WHERE c.settled_at IS NULL OR c.outcome IN ('dead', 'rejected');

-- name: assigned
-- Likewise of '@' mail, between two seqs.
SELECT json_group_array(seq)
FROM copies INDEXED BY copies_via
WHERE via IS NOT NULL AND seq BETWEEN ? AND ?
    AND (settled_at IS NULL OR outcome IN ('dead', 'rejected'));

-- name: page_of_nth_last
-- The page that has a sender's nth last message, and how many it sent there and behind.
SELECT first, total
FROM (
    SELECT first, sum(sent) OVER (ORDER BY first DESC) AS total
    FROM parts
    WHERE agent = :sender
) AS p
WHERE total >= :n
ORDER BY first DESC
LIMIT 1;

-- name: remove_copies
DELETE FROM copies WHERE (agent, seq) IN (
    SELECT x.agent, x.seq
    FROM (VALUES {rows:2}) AS v
    CROSS JOIN copies AS x ON x.agent = v.column1 AND x.seq = v.column2
);

-- name: remove_assigned
DELETE FROM copies WHERE (agent, seq) IN (
    SELECT c.agent, c.seq
    FROM (VALUES {rows:1}) AS v
    CROSS JOIN copies AS c ON c.seq = v.column1 AND c.via IS NOT NULL
);

-- name: unknown_agents
-- Names nobody goes by any more and nothing points to.
SELECT json_group_array(id)
FROM (
    SELECT a.id
    FROM agents AS a
    WHERE NOT a.known AND a.name NOT LIKE '@%'
        AND NOT EXISTS (SELECT 1 FROM parts AS p WHERE p.agent = a.id)
        AND NOT EXISTS (SELECT 1 FROM copies AS c WHERE c.agent = a.id)
    LIMIT 1000
);

-- name: remove_agents
DELETE FROM agents WHERE id IN (VALUES {rows:1});
