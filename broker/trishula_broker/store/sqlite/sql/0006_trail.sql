-- What commits did, until every archiver has it, and who archives.

CREATE TABLE trail (
    place INTEGER PRIMARY KEY,   -- the namespace, spaces.id * 2^40, plus the position in its trail
    at INTEGER NOT NULL,
    node TEXT NOT NULL,
    done BLOB NOT NULL           -- MessagePack, see recorded.py
);

-- The last position of each namespace's trail that was ever used.
CREATE TABLE trails (
    space INTEGER PRIMARY KEY REFERENCES spaces (id),
    last INTEGER NOT NULL
);

CREATE TABLE archivers (
    space INTEGER NOT NULL REFERENCES spaces (id),
    node TEXT NOT NULL,
    upto INTEGER NOT NULL,
    at INTEGER NOT NULL,         -- when it was last heard
    dropped INTEGER NOT NULL,    -- whether the trail waits for it no longer
    heads TEXT NOT NULL,         -- JSON
    PRIMARY KEY (space, node)
) WITHOUT ROWID;

-- Of blocks of the trail, as an archiver has them.
CREATE TABLE digests (
    space INTEGER NOT NULL REFERENCES spaces (id),
    node TEXT NOT NULL,
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (space, node, number)
) WITHOUT ROWID;
