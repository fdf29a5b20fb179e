import type { Micros, Row, Value } from '../../change/change.ts';
import { parseInteger } from '../../change/integers.ts';
import type { TableMapping } from '../../change/table.ts';
import { parserFor, type Parser } from '../../change/types.ts';
import { BugError, PoisonError } from '../../errors.ts';
import type { DeltaChangeRow, DeltaChangeType, InvalidRow } from '../../ports/delta-source.ts';
import { cellsOf, type Cells } from './cells.ts';
import { LEADING_CELLS } from './changes-sql.ts';

interface ReadRow {
  readonly row: Row;
  readonly invalid: InvalidRow | null;
}

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

  return (lines) => cellsOf(lines.join(',')).map(read);
}

function readRow(cells: Cells, parsers: readonly Parser[]): ReadRow {
  try {
    const row: Value[] = [];
    for (let index = 0; index < parsers.length; index++) {
      const text = cells[index + LEADING_CELLS] ?? null;
      row.push(text === null ? null : parsers[index]!(text));
    }
    return { row, invalid: null };
  } catch (error) {
    if (!(error instanceof PoisonError)) throw error;
    return readInvalidRow(cells.slice(LEADING_CELLS), parsers, error);
  }
}

function readInvalidRow(values: Cells, parsers: readonly Parser[], error: PoisonError): ReadRow {
  const row = parsers.map((parse, index) => {
    const text = values[index] ?? null;
    try {
      return text === null ? null : parse(text);
    } catch {
      return null;
    }
  });
  return { row, invalid: { error, values } };
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
