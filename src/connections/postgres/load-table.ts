import type { Pool } from 'pg';
import type { Row } from '../../change/change.ts';
import type { TableMapping } from '../../change/table.ts';
import { FencedError } from '../../errors.ts';
import type { Load, LoadTable } from '../../ports/load.ts';
import { quoteIdent } from '../identifiers.ts';
import { copyCells, copyLines } from './copy-text.ts';
import type { PostgresWhere } from './errors.ts';
import { refusedRow } from './load-refusals.ts';
import { loadTableNames } from './load-table-ddl.ts';
import { inTransaction } from './transaction.ts';

/** The rows of one load beside its target. The pool stays the caller's; one connection of it per batch in flight. */
export function createLoadTableSink(pool: Pool, load: Load, mapping: TableMapping): LoadTable {
  const { rows, progress } = loadTableNames(load.id);
  const columns = mapping.columns.map(({ name }) => quoteIdent(name)).join(', ');
  const copy = `COPY ${rows} (${columns}) FROM STDIN`;
  const linesOf = copyText(mapping);
  const where: PostgresWhere = { doing: 'loading rows', table: load.target };

  return {
    claim: () =>
      inTransaction(pool, { ...where, doing: 'looking how far the load is' }, async (client) => {
        await client.query(
          `INSERT INTO ${progress} (partition, next_offset)
           SELECT n - 1, start FROM unnest($1::bigint[]) WITH ORDINALITY AS given(start, n) ON CONFLICT DO NOTHING`,
          [(load.startOffsets ?? []).map(String)],
        );
        const found = await client.query<{ partition: number; next: string }>(
          `SELECT partition, next_offset AS next FROM ${progress}`,
        );
        return new Map(found.rows.map(({ partition, next }) => [partition, BigInt(next)]));
      }),

    append: async ({ partition, expected, next, rows }) =>
      await inTransaction(pool, where, async (client) => {
        const moved = await client.query(
          `UPDATE ${progress} SET next_offset = $3, rows = rows + $4 WHERE partition = $1 AND next_offset = $2`,
          [partition, expected, next, rows.length],
        );
        if (moved.rowCount !== 1)
          throw new FencedError({
            code: 'OFFSET_MOVED',
            message: `Partition ${partition} of ${load.topic} is not at offset ${expected} for the load ${load.id}: another process loads it.`,
          });
        await copyLines(client, copy, linesOf(rows));
      }).catch((error: unknown) => {
        throw refusedRow(load, error);
      }),

    rows: () =>
      inTransaction(pool, where, async (client) => {
        const sum = await client.query<{ rows: string | null }>(`SELECT sum(rows) AS rows FROM ${progress}`);
        return Number(sum.rows[0]?.rows ?? 0);
      }),
  };
}

function copyText(mapping: TableMapping): (rows: readonly Row[]) => Generator<string, void> {
  const cells = copyCells(mapping.columns);
  return function* lines(rows) {
    for (const row of rows) yield `${cells(row)}\n`;
  };
}
