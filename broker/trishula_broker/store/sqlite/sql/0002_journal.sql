-- What commits have done and the tables do not have yet, in order: see pending.py.
CREATE TABLE journal (
    n INTEGER PRIMARY KEY,
    done BLOB NOT NULL           -- MessagePack: rows of the log, new copies, changed copies
);
