-- A version of a read model or of anything else that follows the log can be paused.
ALTER TABLE versions ADD COLUMN pause TEXT;  -- JSON: reason and time; NULL or empty if it is not paused
