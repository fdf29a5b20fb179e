/** Begins the transaction in which a window is read. */
export const BEGIN_READ = [
  'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY',
  // A long window is read at the pace of whoever publishes it; the connection's end or a cancel ends it.
  'SET LOCAL statement_timeout = 0',
  // Two sorts of so much at most, the rest goes to disk: only sorting keeps the server's memory bounded.
  `SET LOCAL work_mem = '32MB'`,
  'SET LOCAL enable_hashagg = off',
  // The statistics know nothing of the newest rows, and a retained log is long.
  'SET LOCAL enable_seqscan = off',
  // A window is one short statement or one long sort: neither is worth a compiler or other processes.
  'SET LOCAL jit = off',
  'SET LOCAL max_parallel_workers_per_gather = 0',
].join('; ');

/** COPY takes no parameters: the window comes as settings of the transaction. */
export const SET_WINDOW = `SELECT set_config('deltaferry.window_from', $1, true),
  set_config('deltaferry.window_to', $2, true), set_config('deltaferry.window_after', $3, true)`;

/**
 * The net changes of a window in the order of their last change_id, as binary rows of `LOG_FIELDS`. `log` is quoted.
 *
 * `logged`: PgQ's rule, in two parts so that each finds its rows by the index on xid: transactions that
 * began after `from`, and those that were open in it.
 * `net`: the images of a key in one transaction are a walk from state to state, written in no reliable order:
 * where it began is the image that is left more often than it is reached, where it ended the one that is
 * reached more often. Neither where it came back. Several of them (a walk with gaps: somebody switched
 * the triggers off in between) count in the order of the log.
 */
export function windowSql(log: string): string {
  return `COPY (
  WITH bounds AS MATERIALIZED (
    SELECT f.snapshot AS from_snapshot, t.snapshot AS to_snapshot,
           pg_snapshot_xmax(f.snapshot) AS from_xmax, pg_snapshot_xmax(t.snapshot) AS to_xmax,
           ARRAY(SELECT pg_snapshot_xip(f.snapshot)) AS from_open
    FROM (SELECT current_setting('deltaferry.window_from')::pg_snapshot AS snapshot) f,
         (SELECT current_setting('deltaferry.window_to')::pg_snapshot AS snapshot) t
  ), logged AS NOT MATERIALIZED (
    SELECT change_id, xid, changed_at, key, before::text, after::text FROM ${log}
    WHERE xid >= (SELECT from_xmax FROM bounds) AND xid < (SELECT to_xmax FROM bounds)
      AND pg_visible_in_snapshot(xid, (SELECT to_snapshot FROM bounds))
    UNION ALL
    SELECT change_id, xid, changed_at, key, before::text, after::text FROM ${log}
    WHERE xid = ANY ((SELECT from_open FROM bounds)::xid8[])
      AND pg_visible_in_snapshot(xid, (SELECT to_snapshot FROM bounds))
  ), per_key AS NOT MATERIALIZED (
    SELECT max(change_id) AS change_id, xid, max(changed_at) AS changed_at, key COLLATE "C" AS key,
           count(*) AS steps, array_agg(change_id) AS ids, array_agg(before) AS befores, array_agg(after) AS afters
    FROM logged
    GROUP BY xid, key COLLATE "C"
    HAVING max(change_id) > current_setting('deltaferry.window_after')::bigint
  ), net AS NOT MATERIALIZED (
    SELECT change_id, xid, changed_at, key, steps, befores, afters,
           CASE WHEN steps > 1 THEN (
             SELECT ARRAY[(array_agg(image ORDER BY id) FILTER (WHERE balance < 0))[1],
                          (array_agg(image ORDER BY id DESC) FILTER (WHERE balance > 0))[1]]
             FROM (
               SELECT image, sum(step) AS balance, CASE WHEN sum(step) < 0 THEN min(id) ELSE max(id) END AS id
               FROM (
                 SELECT unnest(befores) AS image, unnest(ids) AS id, -1 AS step
                 UNION ALL SELECT unnest(afters), unnest(ids), 1
               ) steps GROUP BY image HAVING sum(step) <> 0
             ) ends
           ) END AS ends
    FROM per_key
    OFFSET 0
  ), changes AS NOT MATERIALIZED (
    SELECT change_id, xid, changed_at, key,
           CASE WHEN steps = 1 THEN befores[1] ELSE ends[1] END AS before,
           CASE WHEN steps = 1 THEN afters[1] ELSE ends[2] END AS after
    FROM net
  )
  SELECT change_id, xid, changed_at, key, before, after FROM changes
  WHERE before IS NOT NULL OR after IS NOT NULL
  ORDER BY change_id
) TO STDOUT (FORMAT binary)`;
}

/** $1: the acknowledged snapshot, null where there is none. */
export const SNAPSHOT = `SELECT pg_current_snapshot()::text AS snapshot,
  coalesce(pg_snapshot_xmax(pg_current_snapshot()) < pg_snapshot_xmax($1::pg_snapshot), false) AS behind`;

/** $1: the log, $2: the captured table, both quoted; $3: the trigger function, as regprocedure reads it. */
export const CAPTURE_STATE = `SELECT to_regclass($1) IS NOT NULL AS log, to_regclass($2) IS NOT NULL AS captured,
  coalesce((SELECT bit_or(tgtype::int) FROM pg_trigger
            WHERE tgrelid = to_regclass($2) AND tgfoid = to_regprocedure($3) AND tgenabled IN ('O', 'A')), 0) AS events`;

/** What `events` of CAPTURE_STATE must hold: pg_trigger.tgtype's bits. */
export const TRIGGER_EVENTS = { INSERT: 4, DELETE: 8, UPDATE: 16, TRUNCATE: 32 } as const;
