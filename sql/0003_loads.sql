-- Bulk loads. Whoever holds the lease of a table's load reads and moves its row; everybody may look.
CREATE TABLE deltaferry.loads (
    id text PRIMARY KEY,
    name text NOT NULL,
    target text NOT NULL,
    topic text NOT NULL,
    -- fill: an empty table gets the rows at once; reconcile: a table with rows is brought to what the load says.
    way text NOT NULL DEFAULT 'fill' CHECK (way IN ('fill', 'reconcile')),
    phase text NOT NULL CHECK (phase IN ('snapshot', 'handover', 'live', 'failed')),
    -- What is loaded: Delta's own id of the table, the pinned version and its time; null until it is pinned.
    delta_table_id text,
    version bigint,
    event_time timestamptz,
    total_rows bigint,
    -- Per partition of the topic: where the load's records begin, and where they end once all are there.
    start_offsets bigint[],
    end_offsets bigint[],
    published_rows bigint NOT NULL DEFAULT 0,
    rejected_rows bigint NOT NULL DEFAULT 0,
    applied_rows bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    error text
);

-- At most one load of a table is under way.
CREATE UNIQUE INDEX ON deltaferry.loads (name) WHERE phase IN ('snapshot', 'handover');

-- The pieces in which a load's rows are read, in the order in which they are published: a file in the
-- staging volume, or a bucket of keys. What is in a piece never changes.
CREATE TABLE deltaferry.load_parts (
    load text NOT NULL REFERENCES deltaferry.loads ON DELETE CASCADE,
    part integer NOT NULL,
    piece text NOT NULL,
    published_at timestamptz,
    PRIMARY KEY (load, part)
);

-- The load that a consumer group waits for. Set and cleared on the row that every applying transaction
-- begins with: no batch is in between.
ALTER TABLE deltaferry.offsets ADD COLUMN held_by text;
