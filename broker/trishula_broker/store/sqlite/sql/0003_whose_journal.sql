-- Whose journal the database needs: see journal.py. 0 when it was closed: it needs none then.
INSERT INTO counters (name, value) VALUES ('journal_of', 0);
