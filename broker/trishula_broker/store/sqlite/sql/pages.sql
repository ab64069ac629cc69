-- The log, by readers and by the writer. The form is that of commit.sql.

-- name: insert_pages
INSERT INTO pages (first, last, bytes, data) VALUES {rows:4};

-- name: insert_ids
INSERT INTO ids (id, sender, seq, threaded) VALUES {rows:4};

-- name: insert_threads
INSERT INTO threads (thread, seq, sender) VALUES {rows:3};

-- name: insert_parts
INSERT OR REPLACE INTO parts (agent, first, sent) VALUES {rows:3};

-- name: page_of
-- The page that has this seq, if one has.
SELECT first, last, data FROM pages WHERE first <= ? ORDER BY first DESC LIMIT 1;

-- name: pages_after
SELECT first, last, data FROM pages WHERE first > ? ORDER BY first;

-- name: pages_with
-- Pages that an agent has a part in, from the one on that has :after.
SELECT g.first, g.last, g.data
FROM parts AS p
CROSS JOIN pages AS g ON g.first = p.first
WHERE p.agent = :agent AND p.first >= ifnull(
    (SELECT first FROM pages WHERE first <= :after ORDER BY first DESC LIMIT 1), 0)
ORDER BY p.first
LIMIT :limit;

-- name: update_page
UPDATE pages SET bytes = ?, data = ? WHERE first = ?;

-- name: remove_page
DELETE FROM pages WHERE first = ?;

-- name: remove_parts
DELETE FROM parts WHERE (agent, first) IN (
    SELECT x.agent, x.first
    FROM (VALUES {rows:2}) AS v
    CROSS JOIN parts AS x ON x.agent = v.column1 AND x.first = v.column2
);

-- name: remove_ids
DELETE FROM ids WHERE (id, sender) IN (
    SELECT x.id, x.sender
    FROM (VALUES {rows:2}) AS v
    CROSS JOIN ids AS x ON x.id = v.column1 AND x.sender = v.column2
);

-- name: remove_threads
DELETE FROM threads WHERE (thread, seq) IN (
    SELECT x.thread, x.seq
    FROM (VALUES {rows:2}) AS v
    CROSS JOIN threads AS x ON x.thread = v.column1 AND x.seq = v.column2
);

-- name: names
SELECT id, name FROM agents WHERE id IN (VALUES {rows:1});
