import { z } from 'zod';
import { parseColumnType } from '../../change/types.ts';
import type { ColumnType, TableMapping } from '../../change/table.ts';
import { noted } from './fields.ts';
import { nearest } from './nearest.ts';
import { didYouMean, tableRules } from './rules.ts';

const name = (most: number) => z.string().min(1).max(most);

/** Names to suggest; a spelling that is refused for a reason says that reason. */
const TYPE_NAMES: readonly ColumnType['name'][] = [
  'boolean',
  'smallint',
  'integer',
  'bigint',
  'numeric',
  'double precision',
  'text',
  'varchar',
  'timestamp',
  'timestamptz',
  'uuid',
  'bytea',
  'jsonb',
];

const typeText = z.string().transform((text, context): ColumnType => {
  try {
    return parseColumnType(text);
  } catch (error) {
    const slip = nearest(text.split('(')[0]!, TYPE_NAMES);
    context.addIssue({ code: 'custom', message: `${(error as Error).message}${didYouMean(slip)}` });
    return z.NEVER;
  }
});

const columnSchema = z.strictObject({
  name: noted(name(63), 'Name of the column in both tables.'),
  type: noted(typeText, 'Its type as Postgres names it; docs/TYPES.md lists them.', {
    example: 'numeric(12,2)',
  }),
});

/** `{emp_id: bigint}` is short for `[{name: emp_id, type: bigint}]`. */
function columnList(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.entries(value).map(([column, type]) => ({ name: column, type }));
}

const fields = z.strictObject({
  name: noted(
    z.string().regex(/^[A-Za-z_][\w-]{0,99}$/, {
      error: 'must begin with a letter and hold only letters, digits, - and _',
    }),
    'What the table is called here: in topics, positions, metrics and commands.',
    { example: 'employees' },
  ),
  topic: noted(
    z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,235}$/, { error: 'must be a topic name: at most 235 letters, digits, . _ -' })
      .exactOptional(),
    'Topic of its changes.',
    { defaultText: '`<name>_changes`' },
  ),
  backfillTopic: noted(
    z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,249}$/, { error: 'must be a topic name: at most 249 letters, digits, . _ -' })
      .exactOptional(),
    'Topic of its loads (`deltaferry backfill`), compacted.',
    { defaultText: '`<name>_backfill`' },
  ),
  partitions: noted(
    z.int().min(1).max(10_000).default(8),
    'Partitions of each of both topics. It cannot change later without moving keys.',
  ),
  key: noted(
    z.preprocess((value) => (typeof value === 'string' ? [value] : value), z.array(name(63)).min(1)),
    'The column or columns that identify a row; never null.',
    { example: 'emp_id' },
  ),
  columns: noted(
    z.preprocess(columnList, z.array(columnSchema).min(1)),
    'The columns kept in step, in order: a list of `{name, type}` or a map `name: type`.',
  ),
  direction: noted(
    z.enum(['both', 'delta-to-postgres', 'postgres-to-delta']).default('both'),
    'Which way changes go. From Postgres: `setup` installs triggers on the table there.',
  ),
  postgres: noted(
    z
      .strictObject({
        table: noted(
          z
            .string()
            .regex(/^[^.\s]{1,63}(\.[^.\s]{1,63})?$/, { error: 'must be table or schema.table' })
            .exactOptional(),
          'Table in Postgres.',
          { defaultText: '`public.<name>`' },
        ),
        history: noted(
          z.enum(['scd2', 'plain']).default('scd2'),
          '`scd2`: one row per version, with its interval of validity; `plain`: one row per key, only as a source (`direction: postgres-to-delta`).',
        ),
        onDate: noted(name(63).default('on_date'), 'Column with the start of a version (`timestamptz`).'),
        offDate: noted(name(63).default('off_date'), 'Column with its end; null: the current version.'),
        isActive: noted(name(63).default('is_active'), 'Column that says whether it is the current version.'),
      })
      .prefault({}),
    'The table in Postgres.',
  ),
  delta: noted(
    z
      .strictObject({
        table: noted(
          z
            .string()
            .regex(/^[^.\s]{1,255}(\.[^.\s]{1,255}){1,2}$/, {
              error: 'must be schema.table or catalog.schema.table',
            })
            .exactOptional(),
          'Table in Databricks, with `delta.enableChangeDataFeed = true` where changes come from it.',
          { defaultText: '`default.<name>`' },
        ),
      })
      .prefault({}),
    'The table in Databricks.',
  ),
});

export const tableSchema = fields.superRefine(tableRules, { when: () => true }).transform((table) => ({
  ...table,
  topic: table.topic ?? `${table.name}_changes`,
  backfillTopic: table.backfillTopic ?? `${table.name}_backfill`,
  postgres: { ...table.postgres, table: qualified(table.postgres.table ?? table.name) },
  delta: { table: table.delta.table ?? `default.${table.name}` },
}));

function qualified(table: string): string {
  return table.includes('.') ? table : `public.${table}`;
}

/** One table that is kept in step. */
export type TableConfig = z.output<typeof tableSchema>;

/** What the loops and adapters need to know of a table's rows. */
export function mappingOf(table: TableConfig): TableMapping {
  return { name: table.name, key: table.key, columns: table.columns };
}
