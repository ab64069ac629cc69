-- What upgrade.py says. The form is that of commit.sql.

-- name: log_before
-- Messages as the version before had them, and the mailboxes they went to, but for '@' mail.
SELECT
    l.seq, l.sender, l.id, l.type, l.dest, l.priority, l.thread, l.receipt, l.accepted_at,
    l.expires_at, l.size, l.body, ifnull(l.recipients, (
        SELECT json_array(a.id)
        FROM agents AS s
        CROSS JOIN agents AS a ON a.space = s.space AND a.name = l.dest
        WHERE s.id = l.sender AND l.dest NOT LIKE '@%'
    ))
FROM log_before AS l
ORDER BY l.seq
LIMIT ?;

-- name: remove_log_before
DELETE FROM log_before WHERE seq <= ?;

-- name: count_pages
-- Up to where bytes were counted before may be in the middle of a page now.
UPDATE counters SET value = CASE name
    WHEN 'counted_seq' THEN (SELECT ifnull(max(last), 0) FROM pages)
    ELSE (SELECT ifnull(sum(bytes), 0) FROM pages)
END
WHERE name IN ('counted_seq', 'counted_bytes');

-- name: drop_log_before
DROP TABLE log_before;

-- name: has_log_before
SELECT 1 FROM sqlite_schema WHERE name = 'log_before';
