-- Messages to many that were not settled everywhere when others were folded: what a record of the
-- journal would say of them, which the records that were folded need not say again.
CREATE TABLE carried (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    data BLOB NOT NULL
);
INSERT INTO carried (id, data) VALUES (1, x'');
