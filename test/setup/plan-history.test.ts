import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEFAULT_HISTORY_COLUMNS } from '../../src/connections/postgres/history-ddl.ts';
import type { CatalogUniqueIndex, HistoryTableFacts } from '../../src/connections/postgres/history-table.ts';
import { planHistoryTable } from '../../src/setup/plan-history.ts';
import {
  column,
  currentIndex,
  employees,
  goodHistory,
  historyWith,
  mapping,
  primaryKey,
} from './existing-things.ts';
import { expectTexts } from './step-texts.ts';

const unique = (columns: readonly (string | null)[]): CatalogUniqueIndex => ({
  ...primaryKey,
  name: 'employees_key',
  primary: false,
  columns,
});

describe('an existing history table', () => {
  const cases: readonly {
    name: string;
    found: HistoryTableFacts;
    mapping?: typeof employees;
    expected: readonly (string | RegExp)[];
    sql?: readonly string[];
  }[] = [
    { name: 'that fits is left alone', found: goodHistory, expected: [/^ok /] },
    {
      name: 'is created by nobody where its schema is missing: a slip in the name must not make a schema',
      found: { exists: false, schemaExists: false, enums: new Map() },
      expected: [/^mismatch .*: schema public does not exist$/],
      sql: ['CREATE SCHEMA "public"'],
    },
    {
      name: 'may be partitioned',
      found: { ...goodHistory, kind: 'partitioned table' },
      expected: [/^ok /],
    },
    {
      name: 'must not be a view',
      found: { ...goodHistory, kind: 'view' },
      expected: [/^mismatch .*: is a view, not a table$/],
    },
    {
      name: 'must not be emptied by a crash',
      found: { ...goodHistory, logged: false },
      expected: [/^mismatch .*: is UNLOGGED/],
      sql: ['ALTER TABLE "public"."employees" SET LOGGED'],
    },
    {
      name: 'with row level security is worth a warning',
      found: { ...goodHistory, rowSecurity: true },
      expected: [/^ok /, /^warning .*row level security/],
    },
    {
      name: 'lacks a mapped column',
      found: { ...goodHistory, columns: goodHistory.columns.filter(({ name }) => name !== 'salary') },
      expected: [/^mismatch .*: column salary \(numeric\(12,2\)\) is missing$/],
      sql: ['ALTER TABLE "public"."employees" ADD COLUMN "salary" numeric(12,2)'],
    },
    {
      name: 'lacks the end of the interval',
      found: { ...goodHistory, columns: goodHistory.columns.filter(({ name }) => name !== 'off_date') },
      expected: [/^mismatch .*: column off_date \(timestamptz\) is missing$/],
      sql: ['ALTER TABLE "public"."employees" ADD COLUMN "off_date" timestamptz'],
    },
    {
      name: 'has another scale',
      found: historyWith(column('salary', 'numeric(12,3)')),
      expected: [/^mismatch .*: column salary is numeric\(12,3\), numeric\(12,2\) wanted$/],
      sql: [
        'ALTER TABLE "public"."employees" ALTER COLUMN "salary" TYPE numeric(12,2) USING "salary"::numeric(12,2)',
      ],
    },
    {
      name: 'has room for more digits',
      found: historyWith(column('salary', 'numeric(18,2)')),
      expected: [/^ok /],
    },
    {
      name: 'has a narrower integer',
      found: historyWith(column('emp_id', 'integer', { notNull: true })),
      expected: [/^mismatch .*: column emp_id is integer, bigint wanted$/],
    },
    {
      name: 'loses the zone of its times',
      found: historyWith(column('on_date', 'timestamp without time zone', { notNull: true })),
      expected: [/^mismatch .*: column on_date is timestamp without time zone, timestamptz wanted$/],
    },
    {
      name: 'rounds its times',
      found: historyWith(column('off_date', 'timestamp(3) with time zone')),
      expected: [/^mismatch .*: column off_date is timestamp\(3\) with time zone, timestamptz wanted$/],
    },
    {
      name: 'has a wider text',
      mapping: mapping({ emp_id: 'bigint', name: 'varchar(40)', salary: 'numeric(12,2)' }),
      found: goodHistory,
      expected: [/^ok /],
    },
    {
      name: 'has a shorter text',
      mapping: mapping({ emp_id: 'bigint', name: 'varchar(40)', salary: 'numeric(12,2)' }),
      found: historyWith(column('name', 'character varying(20)')),
      expected: [/^mismatch .*: column name is character varying\(20\), varchar\(40\) wanted$/],
    },
    {
      name: 'has an enum under its name in another schema',
      mapping: mapping({ emp_id: 'bigint', name: 'enum(hr.mood)', salary: 'numeric(12,2)' }),
      found: { ...historyWith(column('name', 'hr.mood')), enums: new Map([['hr.mood', 'hr.mood']]) },
      expected: [/^ok /],
    },
    {
      name: 'wants an enum that does not exist',
      mapping: mapping({ emp_id: 'bigint', name: 'enum(mood)', salary: 'numeric(12,2)' }),
      found: { exists: false, schemaExists: true, enums: new Map([['mood', null]]) },
      expected: [/^mismatch .*: enum type mood of the mapping does not exist$/],
    },
    {
      name: 'computes a column that we write',
      found: historyWith(column('is_active', 'boolean', { notNull: true, generated: true })),
      expected: [/^mismatch .*: column is_active is a generated column/],
      sql: ['ALTER TABLE "public"."employees" ALTER COLUMN "is_active" DROP EXPRESSION'],
    },
    {
      name: 'numbers its keys itself',
      found: historyWith(column('emp_id', 'bigint', { notNull: true, identity: 'always' })),
      expected: [/^mismatch .*: column emp_id is GENERATED ALWAYS AS IDENTITY/],
      sql: ['ALTER TABLE "public"."employees" ALTER COLUMN "emp_id" SET GENERATED BY DEFAULT'],
    },
    {
      name: 'lets is_active be null',
      found: historyWith(column('is_active', 'boolean')),
      expected: [/^ok /, /^warning .*: column is_active can be null, which only people would write$/],
    },
    {
      name: 'wants an end for every version',
      found: historyWith(column('off_date', 'timestamp with time zone', { notNull: true })),
      expected: [/^mismatch .*: column off_date is NOT NULL, and a current version has null there$/],
      sql: ['ALTER TABLE "public"."employees" ALTER COLUMN "off_date" DROP NOT NULL'],
    },
    {
      name: 'wants a value that a change may lack',
      found: historyWith(column('name', 'text', { notNull: true })),
      expected: [
        /^ok /,
        /^warning .*: column name is NOT NULL: a change with null there goes to the dead letters$/,
      ],
    },
    {
      name: 'has a key whose collation takes different texts for equal',
      found: historyWith(column('emp_id', 'bigint', { notNull: true, looseCollation: 'anycase' })),
      expected: [
        /^mismatch .*: key column emp_id has the collation anycase, which takes different keys for equal/,
      ],
      sql: ['ALTER TABLE "public"."employees" ALTER COLUMN "emp_id" TYPE bigint COLLATE "default"'],
    },
    {
      name: 'has such a collation on a column that is no key',
      found: historyWith(column('name', 'text', { looseCollation: 'anycase' })),
      expected: [/^ok /],
    },
    {
      name: 'has a further column that must be filled',
      found: { ...goodHistory, columns: [...goodHistory.columns, column('dept', 'text', { notNull: true })] },
      expected: [/^mismatch .*: column dept is not in the mapping, is NOT NULL and has no default/],
      sql: ['ALTER TABLE "public"."employees" ALTER COLUMN "dept" DROP NOT NULL'],
    },
    {
      name: 'has further columns that fill themselves',
      found: {
        ...goodHistory,
        columns: [
          ...goodHistory.columns,
          column('note', 'text'),
          column('seen', 'date', { notNull: true, hasDefault: true }),
          column('id', 'bigint', { notNull: true, identity: 'always' }),
          column('double', 'bigint', { notNull: true, generated: true }),
        ],
      },
      expected: [/^ok /],
    },
    {
      name: 'has no primary key',
      found: { ...goodHistory, uniqueIndexes: [currentIndex] },
      expected: [/^mismatch .*: has no primary key \(emp_id, on_date\)$/],
      sql: ['ALTER TABLE "public"."employees" ADD PRIMARY KEY ("emp_id", "on_date")'],
    },
    {
      name: 'has a key that is only checked at commit',
      found: { ...goodHistory, uniqueIndexes: [{ ...primaryKey, enforced: false }, currentIndex] },
      expected: [
        /^mismatch .*: has no primary key \(emp_id, on_date\): employees_pkey is deferrable or invalid$/,
      ],
    },
    {
      name: 'has a surrogate key and the version key beside it',
      found: {
        ...goodHistory,
        uniqueIndexes: [
          { ...primaryKey, name: 'pk', columns: ['id'] },
          { ...primaryKey, name: 'version', primary: false },
          currentIndex,
        ],
      },
      expected: [/^ok /],
    },
    {
      name: 'allows one version of a key only',
      found: { ...goodHistory, uniqueIndexes: [{ ...primaryKey, columns: ['emp_id'] }, currentIndex] },
      expected: [
        /^mismatch .*: has no primary key \(emp_id, on_date\): it is \(emp_id\); a unique constraint beside it will do$/,
        /^mismatch .*: employees_pkey is unique on \(emp_id\): it refuses a second version of a key$/,
      ],
      sql: [
        'ALTER TABLE "public"."employees" ADD UNIQUE ("emp_id", "on_date")',
        'ALTER TABLE "public"."employees" DROP CONSTRAINT "employees_pkey"',
      ],
    },
    {
      name: 'allows two current versions of a key',
      found: { ...goodHistory, uniqueIndexes: [primaryKey] },
      expected: [/^mismatch .*: has no unique index on \(emp_id\) WHERE off_date IS NULL/],
      sql: ['CREATE UNIQUE INDEX ON "public"."employees" ("emp_id") WHERE "off_date" IS NULL'],
    },
    {
      name: 'has the current index on another condition',
      found: { ...goodHistory, uniqueIndexes: [primaryKey, { ...currentIndex, predicate: 'is_active' }] },
      expected: [
        /^mismatch .*: has no unique index on \(emp_id\) WHERE off_date IS NULL/,
        /^mismatch .*: employees_emp_id_idx is unique on \(emp_id\) WHERE is_active: it refuses a second version of a key$/,
      ],
      sql: [
        'CREATE UNIQUE INDEX ON "public"."employees" ("emp_id") WHERE "off_date" IS NULL',
        'DROP INDEX "public"."employees_emp_id_idx"',
      ],
    },
    {
      name: 'has a unique constraint that refuses a second version',
      found: { ...goodHistory, uniqueIndexes: [primaryKey, currentIndex, unique(['emp_id', 'name'])] },
      expected: [
        /^mismatch .*: employees_key is unique on \(emp_id, name\): it refuses a second version of a key$/,
      ],
      sql: ['ALTER TABLE "public"."employees" DROP CONSTRAINT "employees_key"'],
    },
    ...[
      unique(['name', 'on_date']),
      unique(['name', 'off_date']),
      unique([null]),
      { ...unique(['name']), predicate: '(off_date IS NULL)' },
    ].map((index) => ({
      name: `has a unique index on ${index.columns.map((name) => name ?? 'an expression').join(', ')} (${index.predicate ?? 'all rows'}), which may refuse a version`,
      found: { ...goodHistory, uniqueIndexes: [primaryKey, currentIndex, index] },
      expected: [/^ok /, /^warning .*: employees_key is unique on .*stops its partition/],
      sql: [],
    })),
    ...[
      unique(['emp_id', 'name', 'on_date']),
      { ...unique(['name', 'emp_id']), predicate: '(off_date IS NULL)' },
      unique(['id']),
    ].map((index) => ({
      name: `has a unique index on ${index.columns.map((name) => name ?? 'an expression').join(', ')} (${index.predicate ?? 'all rows'}), which refuses nothing`,
      found: { ...goodHistory, uniqueIndexes: [primaryKey, currentIndex, index] },
      expected: [/^ok /],
    })),
  ];
  for (const { name, found, mapping: mapped = employees, expected, sql } of cases)
    it(name, () => {
      const target = { table: 'public.employees', mapping: mapped, names: DEFAULT_HISTORY_COLUMNS };
      const steps = planHistoryTable(target, found);
      expectTexts(steps, expected);
      if (sql !== undefined)
        assert.deepEqual(
          steps.flatMap((step) => step.sql ?? []),
          sql,
        );
    });
});
