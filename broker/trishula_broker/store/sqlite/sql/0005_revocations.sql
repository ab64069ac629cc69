-- Tokens that were taken back: one by its id, or all of an agent that are older than a moment.
-- The one of the two that is not meant is empty.
CREATE TABLE revocations (
    space INTEGER NOT NULL REFERENCES spaces (id),
    token_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    issued_before INTEGER NOT NULL,
    until INTEGER,               -- when they have all expired anyway; NULL: never
    PRIMARY KEY (space, token_id, agent)
) WITHOUT ROWID;
