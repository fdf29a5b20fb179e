-- One row per table that is merged into Delta. Whoever holds the merge lock reads and moves it.
-- `pending`: the mark of a merge that was begun and not yet known to have ended: its outcome is looked up
-- in the table's history before the next one begins.
CREATE TABLE deltaferry.merge_marks (
    sink text PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,
    pending text,
    pending_since timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now()
);
