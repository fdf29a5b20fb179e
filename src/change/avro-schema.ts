import { UsageError } from '../errors.ts';
import type { Op } from './change.ts';
import type { TableMapping } from './table.ts';
import { avroTypeOf, type AvroType } from './types.ts';

/** In the order of the Avro enum; the order is part of the schema. */
export const OPS = ['insert', 'update', 'delete', 'snapshot'] as const satisfies readonly Op[];

interface ChangeField {
  readonly name: string;
  readonly type: unknown;
  readonly default?: null;
  readonly doc: string;
}

interface RowField {
  readonly name: string;
  readonly type: readonly ['null', AvroType];
  readonly default: null;
  readonly doc?: string;
}

/** A change of this table as Avro's JSON: the value schema of its topics, and the decoder's reader schema. */
export function changeSchema(mapping: TableMapping): object {
  return {
    type: 'record',
    name: 'Change',
    namespace: `deltaferry.${avroName(mapping.name)}`,
    doc: `One change of one row of the table ${mapping.name}, written by Deltaferry.`,
    fields: changeFields(mapping),
  };
}

function changeFields(mapping: TableMapping): readonly ChangeField[] {
  const row = { type: 'record', name: 'Row', fields: rowFields(mapping) };
  const micros: AvroType = { type: 'long', logicalType: 'timestamp-micros' };
  return [
    {
      name: 'op',
      type: { type: 'enum', name: 'Op', symbols: OPS },
      doc: 'What happened; snapshot asserts a row of a bulk load.',
    },
    { name: 'before', type: ['null', row], default: null, doc: 'The row before, where the source tells.' },
    { name: 'after', type: ['null', 'Row'], default: null, doc: 'The row after; null for a delete.' },
    { name: 'origin', type: 'string', doc: 'Id of the system where the change was made.' },
    { name: 'table', type: 'string', doc: 'Name of the mapped table.' },
    { name: 'position', type: 'long', doc: 'Delta commit version or Postgres log change_id.' },
    { name: 'ts', type: micros, doc: 'Event time: when the source made the change.' },
    { name: 'tx', type: ['null', 'long'], default: null, doc: 'Postgres transaction id; null from Delta.' },
    {
      name: 'load',
      type: ['null', 'string'],
      default: null,
      doc: 'Id of the bulk load; null for live changes.',
    },
    { name: 'emitted_at', type: micros, doc: 'When Deltaferry published it.' },
  ];
}

function rowFields(mapping: TableMapping): readonly RowField[] {
  const names = fieldNames(mapping);
  return mapping.columns.map((column, index) => {
    const name = names[index] as string;
    return {
      name,
      type: ['null', avroTypeOf(column.type)],
      default: null,
      ...(name === column.name ? {} : { doc: `Column ${JSON.stringify(column.name)}.` }),
    };
  });
}

/** The field name of each column, in order. Throws a UsageError where two columns would share one. */
export function fieldNames(mapping: TableMapping): readonly string[] {
  const names = mapping.columns.map((column) => avroName(column.name));
  const second = names.findIndex((name, index) => names.indexOf(name) < index);
  if (second < 0) return names;
  const name = names[second] as string;
  throw new UsageError({
    code: 'AVRO_NAME',
    message: `table ${mapping.name}: columns "${mapping.columns[names.indexOf(name)]?.name}" and "${mapping.columns[second]?.name}" both become the Avro field ${name}`,
  });
}

/**
 * A column's field name: Avro takes letters, digits and _ only, not beginning with a digit. Every other
 * character becomes _x and its code point in hex and _ ("unit price" → unit_x20_price).
 */
export function avroName(name: string): string {
  const escaped = name.replace(/[^A-Za-z0-9_]/gu, escapeCharacter);
  return /^[0-9]/.test(escaped) ? escapeCharacter(escaped.charAt(0)) + escaped.slice(1) : escaped;
}

function escapeCharacter(character: string): string {
  return `_x${(character.codePointAt(0) as number).toString(16)}_`;
}
