import { asBuffer } from '../../change/bytes.ts';
import type { Change, Row, Value } from '../../change/change.ts';
import { doubleText, realText } from '../../change/floats.ts';
import { keyColumnTexts } from '../../change/key.ts';
import { postgresParserFor } from '../../change/postgres-text.ts';
import { keyIndexes, type Column, type TableMapping } from '../../change/table.ts';
import { BugError } from '../../errors.ts';

/**
 * One change as a line of JSON for merge-sql.ts: an object of the cells that are not null, `c0` … by the
 * place of the column in the mapping, each its exchange text (src/change/types.ts) as a string; a delete
 * has `"d":"1"` and leaves out all but its key. No line has a raw line break in it. Throws a PoisonError for a
 * delete that has nothing but its record key, where that is none of this table.
 */
export function mergeLine(mapping: TableMapping): (change: Change) => string {
  const cells = mapping.columns.map((column, index) => cellOf(column, index));
  const keyPlaces = keyIndexes(mapping);
  const keyCells = keyPlaces.map((index) => cells[index]!);
  const keyParsers = keyPlaces.map((index) => {
    const { type, name } = mapping.columns[index]!;
    return postgresParserFor(type, name);
  });

  /** A row that could not be published as it was is deleted by its key: what it held is not known. */
  function rowOfKey(key: string): Row {
    const row: Value[] = mapping.columns.map(() => null);
    keyColumnTexts(key, mapping).forEach((text, at) => (row[keyPlaces[at]!] = keyParsers[at]!(text)));
    return row;
  }

  return (change) => {
    const gone = change.op === 'delete';
    const row = change.after ?? change.before ?? (gone ? rowOfKey(change.key) : null);
    if (row === null || (change.after === null) !== gone)
      throw new BugError({
        code: 'MERGE_CHANGE',
        message: `A change of table ${mapping.name} is a ${change.op} and does not have the row for it.`,
      });
    return gone ? `{"d":"1"${joined(keyCells, row)}}` : `{${joined(cells, row).slice(1)}}`;
  };
}

type Cell = (row: Row) => string;

function joined(cells: readonly Cell[], row: Row): string {
  let line = '';
  for (const cell of cells) line += cell(row);
  return line;
}

function cellOf(column: Column, index: number): Cell {
  const quoted = quotedText(column);
  const name = `,"c${index}":`;
  return (row) => {
    const value = row[index] ?? null;
    return value === null ? '' : name + quoted(value);
  };
}

/** The exchange text as a JSON string. Numbers have nothing to escape. */
function quotedText({ name, type }: Column): (value: Exclude<Value, null>) => string {
  const misshapen = (value: unknown): BugError =>
    new BugError({
      code: 'MERGE_VALUE',
      message: `Column ${name} (${type.name}) has a value of type ${typeof value}.`,
    });
  switch (type.name) {
    case 'real':
      return (value) => {
        if (typeof value !== 'number') throw misshapen(value);
        return `"${realText(value)}"`;
      };
    case 'double precision':
      return (value) => {
        if (typeof value !== 'number') throw misshapen(value);
        return `"${doubleText(value)}"`;
      };
    case 'bytea':
      return (value) => {
        if (!(value instanceof Uint8Array)) throw misshapen(value);
        return `"${asBuffer(value).toString('hex')}"`;
      };
    case 'text':
    case 'varchar':
    case 'jsonb':
    case 'enum':
    case 'uuid':
    case 'numeric':
      return (value) => {
        if (typeof value !== 'string') throw misshapen(value);
        return JSON.stringify(value);
      };
    case 'boolean':
      return (value) => {
        if (typeof value !== 'boolean') throw misshapen(value);
        return value ? '"true"' : '"false"';
      };
    case 'smallint':
    case 'integer':
    case 'bigint':
    case 'date':
    case 'timestamp':
    case 'timestamptz':
      return (value) => {
        if (typeof value !== 'number' && typeof value !== 'bigint') throw misshapen(value);
        return `"${value}"`;
      };
  }
}
