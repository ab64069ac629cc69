-- What an agent keeps over its own crash. One process a directory.
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

-- Messages not yet accepted, in the order in which they were sent.
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    envelope BLOB NOT NULL
) STRICT;

-- Messages the application has finished; reason: why it was rejected, NULL when it was done.
CREATE TABLE IF NOT EXISTS finished (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    sender TEXT NOT NULL,
    id TEXT NOT NULL,
    reason TEXT,
    UNIQUE (sender, id)
) STRICT;
