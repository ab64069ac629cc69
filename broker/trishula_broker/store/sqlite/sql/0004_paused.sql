-- Why nothing of an agent's mailbox is handed out, as an operator said it; NULL: it is.
ALTER TABLE agents ADD COLUMN paused TEXT;
