import type { Change } from '../../../src/change/change.ts';
import type { TableMapping } from '../../../src/change/table.ts';
import type { Databricks } from '../../../src/connections/databricks/client.ts';
import {
  createDeltaMergeSink,
  type DeltaMergeSinkOptions,
} from '../../../src/connections/databricks/delta-merge-sink.ts';
import { createEpochsTable } from '../../../src/connections/databricks/merge-epoch.ts';
import { createMergeLedger } from '../../../src/connections/postgres/merge-marks.ts';
import type { MergeLedger } from '../../../src/ports/merge-ledger.ts';
import type { MergeSink } from '../../../src/ports/merge-sink.ts';
import { migrate } from '../../../src/connections/postgres/migrate.ts';
import { createDatabase, type TestDatabase } from '../postgres/database.ts';
import { openTestWarehouse, type TestWarehouse } from './warehouse.ts';

/** A warehouse schema and a control database of a test file's own, and merge sinks on them. */
export interface MergeSite {
  readonly warehouse: TestWarehouse;
  readonly database: TestDatabase;
  readonly volume: string;
  ledger(table: string): MergeLedger;
  /** One more replica's sink; closed with the site. */
  sink(table: string, mapping: TableMapping, more?: Partial<DeltaMergeSinkOptions>): MergeSink;
  /** The marks in the history, oldest first. */
  commits(table: string): Promise<readonly { operation: string; predicate: string }[]>;
  close(): Promise<void>;
}

export async function openMergeSite(): Promise<MergeSite> {
  const warehouse = await openTestWarehouse();
  const database = await createDatabase();
  await migrate(database.pool);
  await warehouse.sql(createEpochsTable(`${warehouse.schema}.any`));
  const volume = `/Volumes/local/default/${warehouse.schema}`;
  const open: MergeSink[] = [];
  const ledgers: MergeLedger[] = [];

  function ledger(table: string): MergeLedger {
    const made = createMergeLedger({
      pool: database.pool,
      direct: { url: database.url },
      sink: table,
      group: 'merge',
      topic: table,
    });
    ledgers.push(made);
    return made;
  }

  return {
    warehouse,
    database,
    volume,
    ledger,
    sink(table, mapping, more = {}) {
      const made = createDeltaMergeSink({
        client: warehouse.client,
        ledger: ledger(table),
        table,
        mapping,
        sink: table,
        ...more,
      });
      open.push(made);
      return made;
    },
    async commits(table) {
      const rows = await warehouse.sql(`DESCRIBE HISTORY ${table}`);
      return rows
        .map(({ operation, operationParameters }) => ({
          operation: String(operation),
          predicate: (operationParameters as { predicate?: string } | null)?.predicate ?? '',
        }))
        .toReversed();
    },
    async close() {
      for (const sink of open) await sink.close();
      for (const each of ledgers) await each.close();
      await warehouse.close();
      await database.drop();
    },
  };
}

/** The client with a step before or after statements that match. */
export function tapped(
  client: Databricks,
  matches: RegExp,
  steps: { before?: () => Promise<void> | void; after?: () => Promise<void> | void },
): Databricks {
  return {
    ...client,
    async query(statement) {
      const hit = matches.test(statement.sql);
      if (hit) await steps.before?.();
      const rows = await client.query(statement);
      if (hit) await steps.after?.();
      return rows;
    },
  };
}

export const MERGE = /^MERGE INTO .* :ferry/;

/** Changes of one table, by row; `null` in place of the row deletes. */
export function upsert(key: string, row: Change['after']): Change {
  return {
    op: 'update',
    key,
    before: null,
    after: row,
    origin: 'postgres',
    table: 'any',
    position: 1,
    ts: 1,
    tx: null,
    load: null,
  };
}
