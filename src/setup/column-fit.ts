import type { ColumnType } from '../change/table.ts';
import { parseColumnType } from '../change/types.ts';
import type { EnumNames } from '../connections/postgres/history-table.ts';

/**
 * Whether a Postgres column holds every value of the mapped type, exactly and unchanged. `found` is
 * the type as `format_type` writes it.
 */
export function fitsPostgres(wanted: ColumnType, found: string, enums: EnumNames): boolean {
  if (wanted.name === 'enum') return found === enums.get(wanted.type);
  const type = knownType(found);
  if (type === null) return false;
  switch (wanted.name) {
    case 'smallint':
    case 'integer':
    case 'bigint':
      return INTEGERS.indexOf(type.name) >= INTEGERS.indexOf(wanted.name);
    case 'numeric':
      // Another scale would store another text of the same number.
      return type.name === 'numeric' && type.scale === wanted.scale && type.precision >= wanted.precision;
    case 'varchar':
      return type.name === 'text' || (type.name === 'varchar' && type.length >= wanted.length);
    case 'boolean':
    case 'real':
    case 'double precision':
    case 'text':
    case 'date':
    case 'timestamp':
    case 'timestamptz':
    case 'uuid':
    case 'bytea':
    case 'jsonb':
      return type.name === wanted.name;
    default:
      return wanted satisfies never;
  }
}

/**
 * Whether the mapped type holds every value of a Postgres column, exactly and unchanged: the other way
 * round. `found` is the type as `format_type` writes it.
 */
export function readsPostgres(wanted: ColumnType, found: string, enums: EnumNames): boolean {
  if (wanted.name === 'enum') return found === enums.get(wanted.type);
  const type = knownType(found);
  if (type === null) return false;
  switch (wanted.name) {
    case 'smallint':
    case 'integer':
    case 'bigint':
      return INTEGERS.includes(type.name) && INTEGERS.indexOf(type.name) <= INTEGERS.indexOf(wanted.name);
    case 'numeric':
      return (
        type.name === 'numeric' &&
        type.scale <= wanted.scale &&
        type.precision - type.scale <= wanted.precision - wanted.scale
      );
    case 'varchar':
      return type.name === 'varchar' && type.length <= wanted.length;
    case 'text':
      return type.name === 'text' || type.name === 'varchar';
    case 'boolean':
    case 'real':
    case 'double precision':
    case 'date':
    case 'timestamp':
    case 'timestamptz':
    case 'uuid':
    case 'bytea':
    case 'jsonb':
      return type.name === wanted.name;
    default:
      return wanted satisfies never;
  }
}

const INTEGERS: readonly string[] = ['smallint', 'integer', 'bigint'];

function knownType(text: string): ColumnType | null {
  try {
    return parseColumnType(text);
  } catch {
    return null;
  }
}

const DELTA_INTEGERS: readonly string[] = ['tinyint', 'smallint', 'int', 'bigint'];

/** Whether every value of a Delta column of type `found` is one of `wanted` (both in Databricks' words). */
export function fitsDelta(wanted: string, found: string): boolean {
  const [want, have] = [wanted, found].map((type) => type.toLowerCase().replaceAll(' ', '')) as [
    string,
    string,
  ];
  if (want === have) return true;
  if (DELTA_INTEGERS.includes(have)) return DELTA_INTEGERS.indexOf(have) <= DELTA_INTEGERS.indexOf(want);
  const [wantPrecision, wantScale] = argumentsOf(want, 'decimal');
  const [precision, scale] = argumentsOf(have, 'decimal');
  if (wantPrecision !== undefined && precision !== undefined)
    return scale === wantScale && precision <= wantPrecision;
  return want === 'string' && /^(var)?char\(\d+\)$/.test(have);
}

function argumentsOf(type: string, name: string): readonly (number | undefined)[] {
  const found = new RegExp(`^${name}\\((\\d+)(?:,(\\d+))?\\)$`).exec(type);
  return found === null ? [] : [Number(found[1]), Number(found[2] ?? 0)];
}
