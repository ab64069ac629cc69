-- The last record of the journal whose effect is in the tables: see pending.py.
INSERT INTO counters (name, value) VALUES ('journal', 0);
