-- The service's own bookkeeping. The users' tables are never touched from here.
CREATE SCHEMA IF NOT EXISTS deltaferry;

CREATE TABLE deltaferry.migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- Where each consumer group stands. Moved in the transaction that applies the records, so a record
-- counts exactly once. Updated in place all the time: room on the page keeps the updates index-free.
CREATE TABLE deltaferry.offsets (
    group_id text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_id, topic, partition)
) WITH (fillfactor = 20);

-- Deletes that end no stored version: a late upsert before one of them must still end at its time.
-- Needed only as long as the topic can still deliver such an upsert, hence recorded_at.
CREATE TABLE deltaferry.orphan_deletes (
    target text NOT NULL,
    key text COLLATE "C" NOT NULL,
    ts timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (target, key, ts)
);
