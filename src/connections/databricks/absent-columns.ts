import { OperatorError } from '../../errors.ts';
import { quoteDatabricksQualified } from '../identifiers.ts';
import type { Databricks } from './client.ts';

const UNRESOLVED = /with name `c`\.`((?:[^`]|``)+)`/;

/**
 * The mapped column that an OperatorError says these versions do not have, if it was simply added to
 * the table later: then it reads as null there. Null where it is gone from the table, or where columns
 * were renamed since: then its values may stand under another name, and nobody may call them null.
 */
export async function columnAddedLater(
  client: Databricks,
  table: string,
  error: unknown,
  lastVersion: number,
): Promise<string | null> {
  if (!(error instanceof OperatorError) || error.code !== 'DELTA_COLUMN_MISSING') return null;
  const name = UNRESOLVED.exec(error.message)?.[1]?.replaceAll('``', '`');
  if (name === undefined) return null;
  const quoted = quoteDatabricksQualified(table);
  const doing = `looking for the column ${name}`;
  const columns = await client.query({ sql: `DESCRIBE TABLE ${quoted}`, doing, table });
  const isThere = columns.some((column) => String(column['col_name']).toLowerCase() === name.toLowerCase());
  if (!isThere) return null;
  const history = await client.query({ sql: `DESCRIBE HISTORY ${quoted}`, doing, table });
  const renamed = history.some(
    ({ version, operation }) =>
      Number(version) > lastVersion && String(operation).startsWith('RENAME COLUMN'),
  );
  return renamed ? null : name;
}
