import type { TableMapping } from '../../change/table.ts';
import { quoteDatabricksIdent, quoteDatabricksQualified } from '../identifiers.ts';
import { exchangeText } from './changes-sql.ts';

/** One version of a table (`schema.table`), as the relation `c`. */
interface Snapshot {
  readonly mapping: TableMapping;
  readonly table: string;
  readonly version: number;
}

/**
 * Writes the rows as text files of at most so many lines each into a folder of a volume, replacing what is
 * there. Every line is a JSON array of the mapped columns' exchange texts. `folder` holds no quote.
 */
export function exportSql(snapshot: Snapshot, folder: string, linesPerFile: number): string {
  return (
    `INSERT OVERWRITE DIRECTORY '${folder}' USING text ` +
    `OPTIONS ('maxRecordsPerFile' '${linesPerFile}', 'compression' 'none') ${lineOf(snapshot, 'value')}`
  );
}

/**
 * The same lines as a column `line`, each with the bucket of `:buckets` that its key's hash falls into as its first
 * cell: those from `:first` on, in their order. Within one they are in that of the key: as it is unique, the same each time.
 */
export function bucketsSql(snapshot: Snapshot): string {
  const keys = snapshot.mapping.key.map((name) => `c.${quoteDatabricksIdent(name)}`);
  const bucket = `pmod(xxhash64(${keys.join(', ')}), :buckets)`;
  return `${lineOf(snapshot, 'line', [`cast(${bucket} AS string)`])} WHERE ${bucket} >= :first ORDER BY ${[bucket, ...keys].join(', ')}`;
}

export function countSql({ table, version }: Snapshot): string {
  return `SELECT count(*) AS rows FROM ${quoteDatabricksQualified(table)} VERSION AS OF ${version}`;
}

function lineOf({ mapping, table, version }: Snapshot, as: string, first: readonly string[] = []): string {
  const cells = [...first, ...mapping.columns.map(({ name, type }) => exchangeText(type, name))];
  return `SELECT to_json(array(${cells.join(', ')})) AS ${as} FROM ${quoteDatabricksQualified(table)} VERSION AS OF ${version} AS c`;
}
