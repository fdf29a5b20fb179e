import type { Pool, PoolClient } from 'pg';
import type { Snapshot } from '../../ports/postgres-log.ts';
import { quoteIdent } from '../identifiers.ts';
import { captureNames, logTable, partitionName, partitionRange } from './capture-ddl.ts';

/** The partitions of one log. A range is known by its number (`partitionRange`); the rest is the default partition. */
export interface LogPartitions {
  list(): Promise<{ readonly ranges: readonly bigint[]; readonly restIsEmpty: boolean }>;
  /** No id below it will be handed out any more. */
  nextId(): Promise<bigint>;
  snapshot(): Promise<Snapshot>;
  /** Adds the ranges, and takes out of the rest what is acknowledged. False where it is not possible now. */
  makeRanges(ranges: readonly bigint[], acknowledged: Snapshot): Promise<boolean>;
  /** Gives the room of an acknowledged range back. False where it is not possible now. */
  empty(range: bigint, acknowledged: Snapshot): Promise<boolean>;
  /** Removes ranges that are acknowledged, for which it waits once. Those that are gone. */
  drop(ranges: readonly bigint[], acknowledged: Snapshot): Promise<readonly bigint[]>;
  size(): Promise<{ readonly partitions: number; readonly bytes: number }>;
}

/** Whoever waits for a lock holds up everybody behind it. */
const LOCK_TIMEOUT_MS = 50;
const STATEMENT_TIMEOUT_MS = 5_000;
/** What may be carried over from the rest to its range while writers wait. */
const CARRIED_ROWS = 2_000;
const CARRIED_BYTES = 4 * 1024 * 1024;

export function logPartitions(pool: Pool, table: string): LogPartitions {
  const names = captureNames(table);
  const log = logTable(table);
  const rest = inSchema(names.defaultPartition);
  const range = (n: bigint): string => inSchema(partitionName(table, n));

  async function isAcknowledged(
    client: PoolClient,
    partition: string,
    acknowledged: Snapshot,
  ): Promise<boolean> {
    const { rows } = await client.query<{ more: boolean }>(
      `SELECT EXISTS (SELECT FROM ONLY ${partition} WHERE ${NOT_IN_SNAPSHOT}) AS more`,
      [acknowledged],
    );
    return rows[0]?.more === false;
  }

  async function create(client: PoolClient, n: bigint): Promise<void> {
    await client.query(`CREATE TABLE ${range(n)} (LIKE ${log})`);
    await client.query(`CREATE INDEX ON ${range(n)} (xid)`);
  }

  async function attach(client: PoolClient, n: bigint): Promise<void> {
    const [from, to] = partitionRange(n);
    await client.query(
      `ALTER TABLE ${log} ATTACH PARTITION ${range(n)} FOR VALUES FROM (${from}) TO (${to})`,
    );
  }

  return {
    async list() {
      const { rows } = await pool.query<{ name: string }>(
        `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = $1::regclass AND c.relname <> $2`,
        [log, names.defaultPartition],
      );
      const ranges = rows.map(({ name }) => BigInt(name.slice(names.log.length + 1)));
      const found = await pool.query<{ empty: boolean }>(`SELECT NOT EXISTS (SELECT FROM ${rest}) AS empty`);
      return { ranges, restIsEmpty: found.rows[0]?.empty === true };
    },

    async nextId() {
      const sequence = await pool.query<{ name: string }>(
        `SELECT pg_get_serial_sequence($1, 'change_id') AS name`,
        [log],
      );
      const { rows } = await pool.query<{ id: string }>(
        `SELECT last_value + is_called::int AS id FROM ${sequence.rows[0]?.name}`,
      );
      return BigInt(rows[0]?.id ?? 0);
    },

    async snapshot() {
      const { rows } = await pool.query<{ snapshot: Snapshot }>(
        'SELECT pg_current_snapshot()::text AS snapshot',
      );
      return rows[0]!.snapshot;
    },

    makeRanges: (ranges, acknowledged) =>
      shortly(pool, async (client) => {
        for (const n of ranges) await create(client, n);
        // ATTACH alone would let writers go on, and a long statement among them, which does not know the new
        // range, would fail once its ids get there: nobody may be in the midst of writing. It also means
        // that every row of the rest has been committed.
        await client.query(`LOCK TABLE ONLY ${log} IN SHARE ROW EXCLUSIVE MODE`);
        const carried = await unacknowledged(client, rest, acknowledged);
        if (carried === null) return false;
        // ATTACH looks through the rest for rows of its range.
        await client.query(`TRUNCATE ${rest}`);
        for (const n of ranges) await attach(client, n);
        await putBack(client, log, carried);
        return true;
      }),

    empty: (n, acknowledged) =>
      shortly(pool, async (client) => {
        await client.query(`LOCK TABLE ONLY ${range(n)} IN ACCESS EXCLUSIVE MODE`);
        if (!(await isAcknowledged(client, range(n), acknowledged))) return false;
        await client.query(`TRUNCATE ${range(n)}`);
        return true;
      }),

    async drop(ranges, acknowledged) {
      const gone: bigint[] = [];
      const done = await shortly(pool, async (client) => {
        await client.query(`LOCK TABLE ONLY ${log} IN ACCESS EXCLUSIVE MODE`);
        for (const n of ranges) {
          if (!(await isAcknowledged(client, range(n), acknowledged))) continue;
          await client.query(`DROP TABLE ${range(n)}`);
          gone.push(n);
        }
        return true;
      });
      return done ? gone : [];
    },

    async size() {
      const { rows } = await pool.query<{ partitions: number; bytes: string }>(
        `SELECT count(*)::int AS partitions, coalesce(sum(pg_total_relation_size(relid)), 0)::text AS bytes
         FROM pg_partition_tree($1::regclass) WHERE isleaf`,
        [log],
      );
      return { partitions: rows[0]?.partitions ?? 0, bytes: Number(rows[0]?.bytes ?? 0) };
    },
  };
}

/** Of rows that are committed: those that the snapshot $1 does not see. */
const NOT_IN_SNAPSHOT =
  'xid >= pg_snapshot_xmin($1::pg_snapshot) AND NOT pg_visible_in_snapshot(xid, $1::pg_snapshot)';

const COLUMNS = {
  change_id: 'bigint',
  xid: 'xid8',
  op: '"char"',
  key: 'text',
  before: 'json',
  after: 'json',
  changed_at: 'timestamptz',
} as const;

type LogRow = Readonly<Record<keyof typeof COLUMNS, string | null>>;

/** Null where they are too many. */
async function unacknowledged(
  client: PoolClient,
  partition: string,
  acknowledged: Snapshot,
): Promise<readonly LogRow[] | null> {
  const { rows: sizes } = await client.query<{ bytes: number }>(
    `SELECT coalesce(octet_length(before::text), 0) + coalesce(octet_length(after::text), 0) AS bytes
     FROM ONLY ${partition} WHERE ${NOT_IN_SNAPSHOT} LIMIT ${CARRIED_ROWS + 1}`,
    [acknowledged],
  );
  const bytes = sizes.reduce((sum, row) => sum + row.bytes, 0);
  if (sizes.length > CARRIED_ROWS || bytes > CARRIED_BYTES) return null;
  if (sizes.length === 0) return [];
  const texts = Object.keys(COLUMNS).map((name) => `${name}::text`);
  const { rows } = await client.query<LogRow>(
    `SELECT ${texts.join(', ')} FROM ONLY ${partition} WHERE ${NOT_IN_SNAPSHOT}`,
    [acknowledged],
  );
  return rows;
}

/** With the ids, transactions and times that they had. */
async function putBack(client: PoolClient, log: string, rows: readonly LogRow[]): Promise<void> {
  if (rows.length === 0) return;
  const names = Object.keys(COLUMNS) as (keyof LogRow)[];
  await client.query(
    `INSERT INTO ${log} (${names.join(', ')}) OVERRIDING SYSTEM VALUE
     SELECT * FROM unnest(${names.map((name, index) => `$${index + 1}::${COLUMNS[name]}[]`).join(', ')})`,
    names.map((name) => rows.map((row) => row[name])),
  );
}

/**
 * One transaction that waits for no lock for long; false where it would have to, where another replica has
 * dropped a range meanwhile, or where the work says so.
 */
async function shortly(pool: Pool, work: (client: PoolClient) => Promise<boolean>): Promise<boolean> {
  const client = await pool.connect();
  let usable = false;
  try {
    await client.query(
      `BEGIN; SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}; SET LOCAL statement_timeout = ${STATEMENT_TIMEOUT_MS}`,
    );
    const done = await work(client);
    await client.query(done ? 'COMMIT' : 'ROLLBACK');
    usable = true;
    return done;
  } catch (error) {
    if (!NOT_NOW.has((error as { code?: unknown } | null)?.code)) throw error;
    await client.query('ROLLBACK');
    usable = true;
    return false;
  } finally {
    client.release(!usable);
  }
}

/** lock_not_available and undefined_table. */
const NOT_NOW: ReadonlySet<unknown> = new Set(['55P03', '42P01']);

function inSchema(name: string): string {
  return `deltaferry.${quoteIdent(name)}`;
}
