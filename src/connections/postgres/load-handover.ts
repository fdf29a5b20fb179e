import type { Pool, PoolClient } from 'pg';
import type { TableMapping } from '../../change/table.ts';
import type { Load, LoadHandover } from '../../ports/load.ts';
import { quoteIdent, quoteQualified } from '../identifiers.ts';
import { DEFAULT_HISTORY_COLUMNS, type HistoryColumnNames } from './history-ddl.ts';
import { instantText } from './instants.ts';
import { goOnBehindCopy } from './load-copy.ts';
import { hasEdits } from './load-edits.ts';
import { from, notUnderWay } from './load-phases.ts';
import { createReconcile } from './load-reconcile.ts';
import { checkComplete, duplicateKeys, isUniqueViolation, notEmpty, refusedRow } from './load-refusals.ts';
import { dropLoadTable, loadTableNames } from './load-table-ddl.ts';
import { holdsRows, RELEASE } from './loads.ts';
import { inTransaction } from './transaction.ts';

export interface LoadHandoverOptions {
  readonly pool: Pool;
  readonly mapping: TableMapping;
  /** What the target calls its own columns. */
  readonly columns?: HistoryColumnNames | undefined;
  /** What the transactions call themselves (`deltaferry.origin`), so that capture does not echo them. */
  readonly origin: string;
  /** The live consumers: their group and topic. */
  readonly consumers: { readonly group: string; readonly topic: string };
}

/**
 * The rows go into the target itself, by INSERT in the order of its key (each index then grows at its end).
 * A table built aside and renamed would save that one write, but would not be the user's table: views, foreign
 * keys, publications, policies and triggers hang on the table, not on its name.
 */
export function createLoadHandover(options: LoadHandoverOptions): LoadHandover {
  const { pool, mapping, origin } = options;
  const names = options.columns ?? DEFAULT_HISTORY_COLUMNS;
  const key = mapping.key.map((name) => quoteIdent(name)).join(', ');
  const columns = mapping.columns.map(({ name }) => quoteIdent(name)).join(', ');
  const own = [names.isActive, names.onDate, names.offDate].map((name) => quoteIdent(name)).join(', ');
  const reconcileRanges = createReconcile(options);

  async function insert(load: Load): Promise<void> {
    const target = quoteQualified(load.target);
    const { rows } = loadTableNames(load.id);
    const where = {
      doing: 'moving the load into its table',
      table: load.target,
      columns: mapping.columns.map(({ name }) => name),
    };
    await inTransaction(pool, where, async (client) => {
      await client.query(SETTINGS, [origin]);
      if (!(await finish(client, load))) return;
      await client.query(`LOCK TABLE ${target} IN SHARE ROW EXCLUSIVE MODE`);
      if (await holdsRows(client, load.target)) throw notEmpty(load);
      // Rows that came and went again: Delta hears of it, and the load does not.
      if (load.captured && (await hasEdits(client, load))) throw notEmpty(load);
      const ts = load.pinned === null ? null : instantText(load.pinned.ts);
      const inserted = await client.query(
        `INSERT INTO ${target} (${columns}, ${own}) SELECT ${columns}, true, $1::timestamptz, NULL FROM ${rows} ORDER BY ${key}`,
        [ts],
      );
      checkComplete(load, inserted.rowCount ?? 0);
      // It was marked as ended before it began to move.
      await client.query(ENDED_NOW, [load.id]);
      await goOnBehindCopy(client, load.id);
      if (load.captured) await client.query(FILLED, [load.id]);
      await client.query(RELEASE, [load.id]);
      await dropLoadTable(client, load.id);
    });
  }

  /** Duplicates show as a unique violation. Another one would come again: nobody else writes what it runs into. */
  async function named<T>(load: Load, work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      const duplicates = isUniqueViolation(error) ? await keysTwice(load) : [];
      throw duplicates.length > 0 ? duplicateKeys(load, duplicates) : refusedRow(load, error);
    }
  }

  /** Some of them. */
  async function keysTwice({ id }: Load): Promise<readonly string[]> {
    const found = await pool.query<{ key: string }>(
      `SELECT concat_ws(', ', ${key}) AS key FROM ${loadTableNames(id).rows} GROUP BY ${key} HAVING count(*) > 1 LIMIT 5`,
    );
    return found.rows.map((row) => row.key);
  }

  return {
    async fill(load) {
      await named(load, insert(load));
      // For the users' own queries; where the table is not ours autovacuum comes to it.
      await pool.query(`ANALYZE ${quoteQualified(load.target)}`).catch(() => {});
    },

    async reconcile(load, onDone, signal) {
      const reconciled = await named(load, reconcileRanges(load, onDone, signal));
      await inTransaction(pool, { doing: 'ending the load', table: load.target }, async (client) => {
        if (await finish(client, load)) await dropLoadTable(client, load.id);
      });
      return reconciled;
    },
  };
}

/** Makes the load `live`; false where it is already. */
export async function finish(client: PoolClient, load: Load): Promise<boolean> {
  const ended = await client.query(FINISH, [load.id]);
  if (ended.rowCount === 1) return true;
  const { rows } = await client.query<{ phase: string }>(PHASE, [load.id]);
  if (rows[0]?.phase === 'live') return false;
  throw notUnderWay(load.id);
}

const SETTINGS = `
  SELECT set_config('deltaferry.origin', $1, true), set_config('work_mem', '256MB', true),
         set_config('lock_timeout', '60s', true)`;

const FINISH = `
  UPDATE deltaferry.loads SET phase = 'live', finished_at = clock_timestamp(), error = NULL, applied_rows = published_rows
  WHERE id = $1 AND ${from('handed-over')}`;

/** history-sink.ts passes over what came before it. */
const FILLED = `
  UPDATE deltaferry.offsets o SET filled_version = l.version, filled_at = l.event_time
  FROM deltaferry.loads l WHERE l.id = $1 AND o.held_by = l.id`;

const ENDED_NOW = 'UPDATE deltaferry.loads SET finished_at = clock_timestamp() WHERE id = $1';

const PHASE = 'SELECT phase FROM deltaferry.loads WHERE id = $1';
