import { DeltaferryError } from '../../errors.ts';
import { quoteDatabricksQualified } from '../identifiers.ts';
import { textOf, type Databricks } from './client.ts';

/** What the catalog says of a Delta table. */
export interface DeltaTableFacts {
  /** `delta`, `parquet`, …, or `view`. */
  readonly format: string;
  /** In the table's order; types as Databricks writes them (`decimal(12,2)`). */
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  /** Table properties that are set, such as `delta.enableChangeDataFeed`. */
  readonly properties: Readonly<Record<string, string>>;
}

/** Reads and creates; Delta tables belong to their users, and nothing here changes one that exists. */
export function createDeltaTables(client: Databricks) {
  return {
    /** Null where there is no such table or no such schema. */
    async describe(table: string): Promise<DeltaTableFacts | null> {
      const query = (sql: string) =>
        client.query({
          sql: `${sql} ${quoteDatabricksQualified(table)}`,
          doing: 'reading the table’s description',
          table,
        });
      try {
        const detail = await query('DESCRIBE DETAIL');
        const format = textOf(detail[0]?.['format']).toLowerCase();
        const columns = columnsOf(await query('DESCRIBE TABLE'));
        return { format, columns, properties: propertiesOf(await query('SHOW TBLPROPERTIES')) };
      } catch (error) {
        if (error instanceof DeltaferryError && error.code === 'DELTA_TABLE_MISSING') return null;
        if (error instanceof DeltaferryError && error.message.includes('EXPECT_TABLE_NOT_VIEW'))
          return { format: 'view', columns: [], properties: {} };
        throw error;
      }
    },

    async create(table: string, statement: string): Promise<void> {
      await client.query({ sql: statement, doing: 'creating the table', table });
    },
  };
}

type Rows = Awaited<ReturnType<Databricks['query']>>;

/** The columns end where the partitioning begins, behind a heading. */
function columnsOf(rows: Rows): DeltaTableFacts['columns'] {
  const named = rows.map((row) => ({ name: String(row['col_name']), type: String(row['data_type']) }));
  const end = named.findIndex(({ name }) => name === '' || name.startsWith('#'));
  return end < 0 ? named : named.slice(0, end);
}

function propertiesOf(rows: Rows): DeltaTableFacts['properties'] {
  return Object.fromEntries(rows.map((row) => [String(row['key']), String(row['value'])]));
}
