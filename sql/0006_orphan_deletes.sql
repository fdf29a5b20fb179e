-- Those that have expired are looked for every few minutes, among all that are still kept.
CREATE INDEX ON deltaferry.orphan_deletes (target, recorded_at);
