import { PoisonError, UsageError } from '../errors.ts';
import type { Row } from './change.ts';
import { keyIndexes, type Column, type ColumnType, type TableMapping } from './table.ts';
import { columnTypeText, formatterFor } from './types.ts';

/** Types with one canonical text on both engines. */
const KEY_TYPES: Readonly<Record<ColumnType['name'], boolean>> = {
  bigint: true,
  integer: true,
  smallint: true,
  text: true,
  varchar: true,
  uuid: true,
  date: true,
  boolean: false,
  numeric: false,
  real: false,
  'double precision': false,
  timestamp: false,
  timestamptz: false,
  bytea: false,
  jsonb: false,
  enum: false,
};

/**
 * The record key of a row: one key column → its canonical text; several → a JSON array of the texts.
 * UTF-8, it is the key's bytes. Throws a PoisonError KEY_MISSING where a key value is null.
 */
export function keyOf(mapping: TableMapping): (row: Row) => string {
  const parts = keyColumns(mapping).map(([column, index]) => keyPart(mapping, column, index));
  const [only, ...others] = parts;
  if (only === undefined) throw keyRefused(mapping, 'name at least one key column');
  if (others.length === 0) return only;
  return (row) => JSON.stringify(parts.map((part) => part(row)));
}

/** Throws a UsageError that names the column where the mapping's key cannot be a record key. */
export function checkKeyColumns(mapping: TableMapping): void {
  if (mapping.key.length === 0) throw keyRefused(mapping, 'name at least one key column');
  const allowed = Object.entries(KEY_TYPES).flatMap(([name, ok]) => (ok ? [name] : []));
  for (const [column] of keyColumns(mapping)) {
    if (mapping.key.filter((name) => name === column.name).length > 1) {
      throw keyRefused(mapping, `column ${column.name} is named twice`);
    }
    if (!KEY_TYPES[column.type.name]) {
      throw keyRefused(
        mapping,
        `column ${column.name} is ${columnTypeText(column.type)}; a key column must be one of ${allowed.join(', ')}`,
      );
    }
  }
}

/**
 * A key text split back into the texts of its columns, in key order, as Postgres takes them.
 * Throws a PoisonError KEY_INVALID where the text cannot be a key of this table.
 */
export function keyColumnTexts(key: string, mapping: TableMapping): readonly string[] {
  if (mapping.key.length === 1) return [key];
  let texts: unknown;
  try {
    texts = JSON.parse(key);
  } catch {
    texts = undefined;
  }
  if (isTexts(texts) && texts.length === mapping.key.length) return texts;
  throw new PoisonError({
    code: 'KEY_INVALID',
    message: `table ${mapping.name}: the key ${key.slice(0, 80)} is not an array of ${mapping.key.length} texts (${mapping.key.join(', ')})`,
  });
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function keyPart(mapping: TableMapping, column: Column, index: number): (row: Row) => string {
  const format = formatterFor(column.type, column.name);
  return (row) => {
    const value = row[index];
    if (value === null || value === undefined) {
      throw new PoisonError({
        code: 'KEY_MISSING',
        message: `table ${mapping.name}: key column ${column.name} is null`,
        remedy: 'A row without a key cannot be kept in step: give it one at the source.',
      });
    }
    return format(value);
  };
}

function keyColumns(mapping: TableMapping): readonly (readonly [Column, number])[] {
  return keyIndexes(mapping).map((index, at) => {
    const column = mapping.columns[index];
    if (column === undefined) {
      throw keyRefused(mapping, `column ${mapping.key[at]} is not among the mapped columns`);
    }
    return [column, index];
  });
}

function keyRefused(mapping: TableMapping, why: string): UsageError {
  return new UsageError({ code: 'KEY_COLUMN', message: `table ${mapping.name}: key: ${why}` });
}
