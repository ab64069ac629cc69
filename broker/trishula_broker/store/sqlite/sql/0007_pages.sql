-- The log in pages of consecutive messages, and what finds a message without its seq. What is in
-- log_before is moved into them when the database is opened (upgrade.py), and then it goes.

DROP INDEX log_id;
DROP INDEX log_sender;
DROP INDEX log_thread;
ALTER TABLE log RENAME TO log_before;

CREATE TABLE pages (
    first INTEGER PRIMARY KEY,   -- the seq of its first message
    last INTEGER NOT NULL,       -- and of its last
    bytes INTEGER NOT NULL,      -- of the bodies in it
    data BLOB NOT NULL           -- MessagePack: an entry (pages.py) for each seq, nil once removed
);

-- Dedup; also finds a message by its id, and the first message of a thread.
CREATE TABLE ids (
    id TEXT NOT NULL,
    sender INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    threaded INTEGER NOT NULL,   -- 0: its thread is its own id
    PRIMARY KEY (id, sender)
) WITHOUT ROWID;

-- The other messages of threads.
CREATE TABLE threads (
    thread TEXT NOT NULL,
    seq INTEGER NOT NULL,
    sender INTEGER NOT NULL,
    PRIMARY KEY (thread, seq)
) WITHOUT ROWID;

-- Who sent something in a page, or received something whose copy is in the page and no row of
-- copies: it was done when the page was written, at its first attempt.
CREATE TABLE parts (
    agent INTEGER NOT NULL,
    first INTEGER NOT NULL,      -- the page
    sent INTEGER NOT NULL,       -- how many of its messages the agent sent
    PRIMARY KEY (agent, first)
) WITHOUT ROWID;
