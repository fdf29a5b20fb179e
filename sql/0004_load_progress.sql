-- How far a load is, for whoever looks at it from elsewhere. What the process that carries it out does, and since when:
ALTER TABLE deltaferry.loads ADD COLUMN stage text;
ALTER TABLE deltaferry.loads ADD COLUMN stage_since timestamptz;
-- How long handing over should take, by how fast the rows were loaded before it; null: not known.
ALTER TABLE deltaferry.loads ADD COLUMN handover_seconds double precision;
-- Rows read, and rows compared with those of a target that held some; ranges of keys that wait for open transactions.
ALTER TABLE deltaferry.loads ADD COLUMN read_rows bigint NOT NULL DEFAULT 0;
ALTER TABLE deltaferry.loads ADD COLUMN compared_rows bigint NOT NULL DEFAULT 0;
ALTER TABLE deltaferry.loads ADD COLUMN held_up integer NOT NULL DEFAULT 0;
