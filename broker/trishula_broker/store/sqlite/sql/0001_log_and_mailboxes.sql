-- One append-only log, and mailboxes that point into it. Times are wall-clock milliseconds.

-- Numbers that outlive what they were counted from:
--   epoch          the last one given to a session
--   seq            the last place in the log that was ever used
--   counted_seq    up to here (inclusive) the log's bodies hold ...
--   counted_bytes  ... this many bytes
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO counters (name, value)
VALUES ('epoch', 0), ('seq', 0), ('counted_seq', 0), ('counted_bytes', 0);

CREATE TABLE spaces (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- Everyone who sends or receives: agents, pools (named '@capability', there once the capability
-- was offered), the hub, and names that are no longer known (known = 0) but are in the log.
CREATE TABLE agents (
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL REFERENCES spaces (id),
    name TEXT NOT NULL,
    known INTEGER NOT NULL DEFAULT 0,
    capabilities TEXT NOT NULL DEFAULT '[]',
    groups TEXT NOT NULL DEFAULT '[]',
    epoch INTEGER NOT NULL DEFAULT 0,
    online INTEGER NOT NULL DEFAULT 0,
    ephemeral INTEGER NOT NULL DEFAULT 0,
    node TEXT NOT NULL DEFAULT '',
    session TEXT NOT NULL DEFAULT '',
    since INTEGER NOT NULL DEFAULT 0,
    lease_ms INTEGER NOT NULL DEFAULT 0,
    status TEXT,
    UNIQUE (space, name)
);

CREATE TABLE log (
    seq INTEGER PRIMARY KEY,
    sender INTEGER NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    dest TEXT NOT NULL,          -- the address it was sent to
    priority INTEGER NOT NULL,
    thread TEXT,                 -- NULL: its own id
    receipt INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    expires_at INTEGER,
    recipients TEXT,             -- of a broadcast or group: JSON array of agents.id
    size INTEGER NOT NULL,       -- bytes of body, 0 once it is trimmed
    body BLOB NOT NULL
);

-- Dedup; also finds a message by its id, and the first message of a thread.
CREATE UNIQUE INDEX log_id ON log (id, sender);
-- What an agent sent.
CREATE INDEX log_sender ON log (sender, seq);
CREATE INDEX log_thread ON log (thread, seq) WHERE thread IS NOT NULL;

CREATE TABLE copies (
    agent INTEGER NOT NULL,      -- the mailbox, agents.id
    seq INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    size INTEGER NOT NULL,
    hub INTEGER NOT NULL,        -- the hub's own mail: outside mailbox limits
    via TEXT,                    -- the capability it was addressed to
    expires_at INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    deliveries INTEGER NOT NULL DEFAULT 0,
    due_at INTEGER,              -- when the next attempt may begin; NULL once settled
    delivered_at INTEGER,
    read_at INTEGER,
    lease_until INTEGER,         -- NULL while nobody has read it, and once settled
    settled_at INTEGER,
    outcome TEXT,
    reason TEXT,
    PRIMARY KEY (agent, seq)
) WITHOUT ROWID;

-- The queue of a mailbox.
CREATE INDEX copies_waiting ON copies (agent, priority, seq) WHERE settled_at IS NULL;
CREATE INDEX copies_expiring ON copies (expires_at, seq)
WHERE expires_at IS NOT NULL AND settled_at IS NULL;
CREATE INDEX copies_delayed ON copies (agent, due_at) WHERE due_at IS NOT NULL;
-- Where '@' mail is now: the address does not tell.
CREATE INDEX copies_via ON copies (seq) WHERE via IS NOT NULL;
-- Dead letters, of one and of all.
CREATE INDEX copies_dead ON copies (agent, seq) WHERE outcome IN ('dead', 'rejected');
CREATE INDEX copies_dead_all ON copies (seq, agent) WHERE outcome IN ('dead', 'rejected');
