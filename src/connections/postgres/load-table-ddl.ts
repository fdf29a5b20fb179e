import type { PoolClient } from 'pg';
import { quoteIdent, quoteQualified } from '../identifiers.ts';

/**
 * The tables of one load: its rows, how far each partition of the topic is in them, and the keys of a captured
 * target that people have changed since.
 */
export function loadTableNames(id: string): Readonly<Record<'rows' | 'progress' | 'edited', string>> {
  return {
    rows: `deltaferry.${quoteIdent(`load_${id}`)}`,
    progress: `deltaferry.${quoteIdent(`load_${id}_progress`)}`,
    edited: `deltaferry.${quoteIdent(`load_${id}_edited`)}`,
  };
}

/**
 * UNLOGGED: the rows are written once more into the target, so a log of them would double what the disk has to
 * take. After a crash of the server both tables are empty, and the load goes on from its first record.
 * No index and no constraint: the target's own decide.
 */
export async function createLoadTable(
  client: PoolClient,
  {
    id,
    target,
    columns,
  }: { readonly id: string; readonly target: string; readonly columns: readonly string[] },
): Promise<void> {
  const { rows, progress } = loadTableNames(id);
  const list = columns.map(quoteIdent).join(', ');
  await client.query(
    `CREATE UNLOGGED TABLE ${rows} WITH (autovacuum_enabled = false)
     AS SELECT ${list} FROM ${quoteQualified(target)} WITH NO DATA`,
  );
  await client.query(
    `CREATE UNLOGGED TABLE ${progress}
       (partition integer PRIMARY KEY, next_offset bigint NOT NULL, rows bigint NOT NULL DEFAULT 0)
     WITH (fillfactor = 20)`,
  );
}

export async function dropLoadTable(client: PoolClient, id: string): Promise<void> {
  const { rows, progress, edited } = loadTableNames(id);
  await client.query(`DROP TABLE IF EXISTS ${rows}, ${progress}, ${edited}`);
}
