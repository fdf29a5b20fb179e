import type { Value } from '../../change/change.ts';
import type { TableMapping } from '../../change/table.ts';
import { parserFor } from '../../change/types.ts';
import { PoisonError } from '../../errors.ts';
import type { SnapshotRow } from '../../ports/load.ts';
import { cellsOf, type Cells } from './cells.ts';

export interface NumberedRow {
  readonly bucket: number;
  readonly row: SnapshotRow;
  /** Of its line. */
  readonly length: number;
}

/** Reads what the statements of snapshot-sql.ts give: JSON arrays, one per line. */
export function snapshotReader(mapping: TableMapping): {
  /** Lines of a file; each has its end. */
  readonly file: (text: string) => SnapshotRow[];
  /** Behind each line's first cell, its bucket. */
  readonly numbered: (lines: readonly string[]) => NumberedRow[];
} {
  const parsers = mapping.columns.map(({ type, name }) => parserFor(type, name));

  function read(cells: Cells): SnapshotRow {
    try {
      const row: Value[] = [];
      for (let index = 0; index < parsers.length; index++) {
        const text = cells[index] ?? null;
        row.push(text === null ? null : parsers[index]!(text));
      }
      return { kind: 'row', row };
    } catch (error) {
      if (!(error instanceof PoisonError)) throw error;
      return { kind: 'invalid', code: error.code, message: error.message, payload: JSON.stringify(cells) };
    }
  }

  return {
    // No text holds a line's end.
    file: (text) => cellsOf(text.trimEnd().replaceAll('\n', ',')).map(read),
    numbered: (lines) =>
      cellsOf(lines.join(',')).map(([bucket, ...cells], index) => ({
        bucket: Number(bucket),
        row: read(cells),
        length: lines[index]?.length ?? 0,
      })),
  };
}
