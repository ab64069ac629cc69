-- Whether an agent has a shared folder, and goes there when it is ordered to.
ALTER TABLE agents ADD COLUMN folder INTEGER NOT NULL DEFAULT 0;
-- That all agents of a namespace are ordered there: JSON, the reason and since when; NULL: not.
ALTER TABLE spaces ADD COLUMN folder_order TEXT;
