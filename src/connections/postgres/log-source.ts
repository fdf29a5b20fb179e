import type { TableMapping } from '../../change/table.ts';
import { OperatorError } from '../../errors.ts';
import type { PostgresLog } from '../../ports/postgres-log.ts';
import { quoteQualified } from '../identifiers.ts';
import { captureFunction, logTable } from './capture-ddl.ts';
import { translatePostgres, type PostgresWhere } from './errors.ts';
import { pageBuilder } from './log-pages.ts';
import { logRowReader } from './log-rows.ts';
import { createLogLooks } from './log-looks.ts';
import { CAPTURE_STATE, TRIGGER_EVENTS } from './log-sql.ts';
import { createLogUpkeep } from './log-upkeep.ts';
import { createLogWindows } from './log-windows.ts';
import { openTransactions } from './open-transactions.ts';
import { openPool, roleOf, type PostgresOptions } from './pool.ts';

export interface PostgresLogOptions extends PostgresOptions {
  /** The captured table: `schema.table`. */
  readonly table: string;
  readonly mapping: TableMapping;
  /** Origin id of the changes. */
  readonly origin: string;
  /** Most net changes of a page; default 5,000. */
  readonly pageChanges?: number | undefined;
  /** Most bytes of a page, but for a single larger change; default 2 MB. */
  readonly pageBytes?: number | undefined;
  /** Windows of more log rows are streamed; default 500. */
  readonly smallWindowRows?: number | undefined;
  /** Milliseconds that never go backwards. */
  readonly now?: (() => number) | undefined;
}

const DEFAULTS = { pageChanges: 5_000, pageBytes: 2 * 1024 * 1024, smallWindowRows: 500 };
/** How often the triggers are looked at: what somebody drops is noticed so soon. */
const CHECK_EVERY_MS = 5_000;

/**
 * The log of one captured table. Its connections are its own (`close` ends them): one looks and keeps the
 * partitions in order, one reads windows and is held as long as a window takes.
 */
export function createPostgresLog(options: PostgresLogOptions): PostgresLog {
  const { mapping, table } = options;
  const now = options.now ?? ((): number => performance.now());
  const pool = openPool({ ...options, maxConnections: 2 });
  const log = logTable(mapping.name);
  const where = (doing: string): PostgresWhere => ({ doing, table, role: roleOf(pool) });
  const readRow = logRowReader(options);
  const looks = createLogLooks(pool, { name: mapping.name, table });
  const open = openTransactions(now);
  const upkeep = createLogUpkeep({ pool, table: mapping.name });
  const windows = createLogWindows(
    { ...options, smallWindowRows: options.smallWindowRows ?? DEFAULTS.smallWindowRows },
    log,
    where,
  );
  let checkedAt = Number.NEGATIVE_INFINITY;

  async function checkCapture(): Promise<void> {
    if (now() - checkedAt < CHECK_EVERY_MS) return;
    const { rows } = await pool.query<{ log: boolean; captured: boolean; events: number }>(CAPTURE_STATE, [
      log,
      quoteQualified(table),
      captureFunction(mapping.name),
    ]);
    const missing = missingPart(rows[0], { log, table });
    if (missing !== null) throw captureMissing(mapping.name, missing);
    checkedAt = now();
  }

  return {
    async snapshot(acknowledged, mark = null) {
      try {
        await checkCapture();
        const snapshot = await looks.snapshot(acknowledged, mark);
        open.seen(snapshot);
        return snapshot;
      } catch (error) {
        throw translatePostgres(error, where('looking at the log'));
      }
    },

    async mark() {
      try {
        return await looks.mark();
      } catch (error) {
        throw translatePostgres(error, where('marking what was seen of the log'));
      }
    },

    async *read(window, signal) {
      const pages = pageBuilder({
        changes: options.pageChanges ?? DEFAULTS.pageChanges,
        bytes: options.pageBytes ?? DEFAULTS.pageBytes,
      });
      for await (const some of windows.read(window, signal))
        for (const logged of some) {
          const page = pages.add(readRow(logged), logged.size);
          if (page !== null) yield page;
        }
      const last = pages.end();
      if (last !== null) yield last;
    },

    async upkeep(acknowledged) {
      try {
        const facts = await upkeep(acknowledged);
        return { ...facts, oldestTransactionMs: await open.oldestMs(pool) };
      } catch (error) {
        throw translatePostgres(error, where('keeping the log in order'));
      }
    },

    async close() {
      looks.close();
      await Promise.all([pool.end(), windows.close()]);
    },
  };
}

function missingPart(
  state: { readonly log: boolean; readonly captured: boolean; readonly events: number } | undefined,
  names: { readonly log: string; readonly table: string },
): string | null {
  if (state?.captured !== true) return `there is no table ${names.table}`;
  if (!state.log) return `there is no log ${names.log}`;
  const events = Object.entries(TRIGGER_EVENTS).flatMap(([name, bit]) =>
    (state.events & bit) === 0 ? [name] : [],
  );
  return events.length === 0 ? null : `table ${names.table} has no enabled trigger for ${events.join(', ')}`;
}

function captureMissing(name: string, missing: string): OperatorError {
  return new OperatorError({
    code: 'CAPTURE_MISSING',
    message: `The changes of ${name} in Postgres are not captured: ${missing}.`,
    remedy: `Run \`deltaferry setup\`; what was changed meanwhile is only found by \`deltaferry backfill ${name} --from postgres\`.`,
  });
}
