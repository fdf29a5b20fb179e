/** How a window is handed to a statement: SQL expressions. */
interface WindowTerms {
  readonly from: string;
  readonly to: string;
  readonly after: string;
}

/**
 * Settings of the connections that read windows. Sorts are what keeps the server's memory bounded, so nothing
 * is hashed; statistics know nothing of the newest rows, and a retained log is long; a window is one short
 * statement, planned once, or one long sort: neither is worth a compiler or other processes.
 */
export const READER_SETTINGS =
  '-c work_mem=32MB -c enable_hashagg=off -c enable_seqscan=off -c jit=off ' +
  '-c max_parallel_workers_per_gather=0 -c plan_cache_mode=force_generic_plan';

/**
 * The net changes of a small window in one statement, which the server plans once ($1 from, $2 to, $3 after).
 * Always at least one row; where `fits` is false the window is larger, and the row says nothing else.
 */
export function smallWindowSql(log: string, most: { readonly rows: number; readonly bytes: number }): string {
  const window = { from: '$1', to: '$2', after: '$3' };
  return `WITH ${boundsCte(window)}, logged AS MATERIALIZED (${loggedRows(log)} LIMIT ${most.rows + 1}),
  fitting AS MATERIALIZED (
    SELECT count(*) <= ${most.rows} AND coalesce(sum(coalesce(pg_column_size(before), 0) + coalesce(pg_column_size(after), 0)), 0) <= ${most.bytes} AS fits
    FROM logged
  ), ${netCtes(window, 'WHERE (SELECT fits FROM fitting)')}
  SELECT fits, change_id, xid, (extract(epoch FROM changed_at) * 1000000)::bigint AS micros, key, before, after
  FROM fitting LEFT JOIN changes ON true
  ORDER BY change_id`;
}

/** The same for a window of any size, as a stream of binary rows of `COPIED_FIELDS`. */
export function windowSql(log: string): string {
  const setting = (name: keyof WindowTerms): string => `current_setting('deltaferry.window_${name}')`;
  const window = { from: setting('from'), to: setting('to'), after: setting('after') };
  return `COPY (
  WITH ${boundsCte(window)}, logged AS NOT MATERIALIZED (${loggedRows(log)}), ${netCtes(window)}
  SELECT ${COPIED_FIELDS.join(', ')} FROM changes ORDER BY change_id
) TO STDOUT (FORMAT binary)`;
}

export const COPIED_FIELDS = ['change_id', 'xid', 'changed_at', 'key', 'before', 'after'] as const;

/**
 * It is read at the pace of whoever publishes it; the end of the connection ends it. The lock comes before the
 * snapshot: where a former leader's upkeep still moves rows to their range (log-partitions.ts), a snapshot from before
 * that would see them in neither place.
 */
export function beginWindow(log: string): string {
  return (
    'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; ' +
    `LOCK TABLE ${log} IN ACCESS SHARE MODE`
  );
}

/** COPY takes no parameters: the window comes as settings of the transaction. */
export const SET_WINDOW = `SELECT set_config('deltaferry.window_from', $1, true),
  set_config('deltaferry.window_to', $2, true), set_config('deltaferry.window_after', $3, true)`;

/** $1: the acknowledged snapshot, null where there is none. */
export const SNAPSHOT = `SELECT pg_current_snapshot()::text AS snapshot,
  coalesce(pg_snapshot_xmax(pg_current_snapshot()) < pg_snapshot_xmax($1::pg_snapshot), false) AS behind`;

/** The same, with the newest mark. */
export const MARKED_SNAPSHOT = `${SNAPSHOT}, (SELECT last_value::text FROM deltaferry.log_marks) AS mark`;

/** Any fixed number. Two that read the same number would both leave it. */
const MARKING = 0x0df_3a2c;

/** Two statements, one transaction: the number is read once the lock is had. */
export const MARK = `SELECT pg_advisory_xact_lock(${MARKING});
SELECT setval('deltaferry.log_marks', last_value + 1)::text AS mark FROM deltaferry.log_marks`;

/** Which servers are copies of one another. */
export const SYSTEM = 'SELECT system_identifier::text AS system FROM pg_control_system()';

/** $1: the log, $2: the captured table, both quoted; $3: the trigger function, as regprocedure reads it. */
export const CAPTURE_STATE = `SELECT to_regclass($1) IS NOT NULL AS log, to_regclass($2) IS NOT NULL AS captured,
  coalesce((SELECT bit_or(tgtype::int) FROM pg_trigger
            WHERE tgrelid = to_regclass($2) AND tgfoid = to_regprocedure($3) AND tgenabled IN ('O', 'A')), 0) AS events`;

/** What `events` of CAPTURE_STATE must hold: pg_trigger.tgtype's bits. */
export const TRIGGER_EVENTS = { INSERT: 4, DELETE: 8, UPDATE: 16, TRUNCATE: 32 } as const;

function boundsCte({ from, to }: WindowTerms): string {
  return `bounds AS MATERIALIZED (
    SELECT t.snapshot AS to_snapshot, pg_snapshot_xmax(f.snapshot) AS from_xmax,
           pg_snapshot_xmax(t.snapshot) AS to_xmax, ARRAY(SELECT pg_snapshot_xip(f.snapshot)) AS from_open
    FROM (SELECT ${from}::pg_snapshot AS snapshot) f, (SELECT ${to}::pg_snapshot AS snapshot) t
  )`;
}

/**
 * PgQ's rule, in two parts so that each finds its rows by the index on xid: transactions that began after
 * `from`, and those that were open in it.
 */
function loggedRows(log: string): string {
  const part = (which: string): string =>
    `SELECT change_id, xid, changed_at, key, before::text, after::text FROM ${log}
    WHERE ${which} AND pg_visible_in_snapshot(xid, (SELECT to_snapshot FROM bounds))`;
  return `
    ${part('xid >= (SELECT from_xmax FROM bounds) AND xid < (SELECT to_xmax FROM bounds)')}
    UNION ALL
    ${part('xid = ANY ((SELECT from_open FROM bounds)::xid8[])')}
  `;
}

/**
 * From `logged` to `changes`. The images of a key in one transaction are a walk from state to state, written
 * in no reliable order: where it began is the image that is left more often than it is reached, where it
 * ended the one that is reached more often, and neither where it came back. Several of them (a walk with
 * gaps: somebody switched the triggers off in between) count in the order of the log.
 */
function netCtes({ after }: WindowTerms, condition = ''): string {
  return `per_key AS NOT MATERIALIZED (
    SELECT max(change_id) AS change_id, xid, max(changed_at) AS changed_at, key COLLATE "C" AS key,
           count(*) AS steps, array_agg(change_id) AS ids, array_agg(before) AS befores, array_agg(after) AS afters
    FROM logged ${condition}
    GROUP BY xid, key COLLATE "C"
    HAVING max(change_id) > ${after}::bigint
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
    SELECT change_id, xid, changed_at, key, before, after FROM (
      SELECT change_id, xid, changed_at, key,
             CASE WHEN steps = 1 THEN befores[1] ELSE ends[1] END AS before,
             CASE WHEN steps = 1 THEN afters[1] ELSE ends[2] END AS after
      FROM net
    ) netted WHERE before IS NOT NULL OR after IS NOT NULL
  )`;
}
