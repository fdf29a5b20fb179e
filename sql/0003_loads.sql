-- Bulk loads. Whoever holds the lease of a table's load reads and moves its row; everybody may look.
CREATE TABLE deltaferry.loads (
    id text PRIMARY KEY,
    name text NOT NULL,
    target text NOT NULL,
    topic text NOT NULL,
    -- Where the rows come from; the target is on the other side. topic: the records of another database's load.
    source text NOT NULL DEFAULT 'delta' CHECK (source IN ('delta', 'postgres', 'topic')),
    -- The load whose records are loaded; null: its own.
    records_of text,
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
    -- Whether people's changes of the target are captured. Those that this snapshot does not see are theirs: the load
    -- leaves their keys alone, and the log keeps them until the load has ended.
    captured boolean NOT NULL DEFAULT false,
    log_position pg_snapshot,
    -- Per partition of the changes topic: everything that came after the version is there or behind it.
    live_offsets bigint[],
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

-- Of loads into Delta: the files in the staging volume that hold a load's records, per partition of its topic in
-- order. `next_offset` and, behind it, so many of the load's rows `skip`: where the next file of the partition
-- begins. Files of one slice go into the table by one statement.
CREATE TABLE deltaferry.load_files (
    load text NOT NULL REFERENCES deltaferry.loads ON DELETE CASCADE,
    partition integer NOT NULL,
    seq integer NOT NULL,
    slice integer NOT NULL,
    path text NOT NULL,
    rows bigint NOT NULL,
    next_offset bigint NOT NULL,
    skip bigint NOT NULL,
    merged_at timestamptz,
    PRIMARY KEY (load, partition, seq)
);
