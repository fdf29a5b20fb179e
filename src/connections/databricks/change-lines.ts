import type { Micros, Row, Value } from '../../change/change.ts';
import { parseInteger } from '../../change/integers.ts';
import type { TableMapping } from '../../change/table.ts';
import { parserFor, type Parser } from '../../change/types.ts';
import { BugError, PoisonError } from '../../errors.ts';
import type { DeltaChangeRow, DeltaChangeType, InvalidRow } from '../../ports/delta-source.ts';
import { LEADING_CELLS } from './changes-sql.ts';

type Cells = readonly (string | null)[];

/** A reader of the lines that `changesSql` selects, page by page. */
export function changeLineReader(mapping: TableMapping): (lines: readonly string[]) => DeltaChangeRow[] {
  const parsers = mapping.columns.map(({ type, name }) => parserFor(type, name));
  const version = remembered((text) => Number(text));
  const micros = remembered(parseMicros);

  function read(cells: Cells): DeltaChangeRow {
    const { row, invalid } = readRow(cells, parsers);
    return {
      version: version(cells[0]),
      type: cells[1] as DeltaChangeType,
      ts: micros(cells[2]),
      row,
      invalid,
    };
  }

  // One call of the JSON parser per page, not per line.
  return (lines) => (JSON.parse(`[${lines.join(',')}]`) as Cells[]).map(read);
}

function readRow(
  cells: Cells,
  parsers: readonly Parser[],
): { readonly row: Row; readonly invalid: InvalidRow | null } {
  const row: Value[] = [];
  let first: PoisonError | undefined;
  for (const [index, parse] of parsers.entries()) {
    const text = cells[index + LEADING_CELLS] ?? null;
    try {
      row.push(text === null ? null : parse(text));
    } catch (error) {
      if (!(error instanceof PoisonError)) throw error;
      first ??= error;
      row.push(null);
    }
  }
  return { row, invalid: first === undefined ? null : { error: first, values: cells.slice(LEADING_CELLS) } };
}

function parseMicros(text: string): Micros {
  const value = parseInteger(text);
  if (value === undefined)
    throw new BugError({ code: 'DELTA_TIMESTAMP', message: `${text} is not a number of microseconds` });
  return value;
}

/** All rows of a commit bear the same version and time: each text is parsed once. */
function remembered<T>(parse: (text: string) => T): (text: string | null | undefined) => T {
  let last: { readonly text: string; readonly value: T } | undefined;
  return (text) => {
    if (typeof text !== 'string')
      throw new BugError({ code: 'DELTA_LINE', message: 'A change has no version or time.' });
    if (last?.text !== text) last = { text, value: parse(text) };
    return last.value;
  };
}
