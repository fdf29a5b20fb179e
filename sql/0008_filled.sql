-- The version of Delta that a load has brought into an empty captured table, and its time: what the topic holds of it
-- or from before it is passed over. People may have changed the rows since, in place, or deleted them.
ALTER TABLE deltaferry.offsets
    ADD COLUMN filled_version bigint,
    ADD COLUMN filled_at timestamptz;
