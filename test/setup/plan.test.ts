import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { changeSchema } from '../../src/change/avro.ts';
import { mismatchesOf, planSetup, type Existing, type Plan } from '../../src/setup/plan.ts';
import { planHistoryTable } from '../../src/setup/plan-history.ts';
import { planDeltaTable } from '../../src/setup/plan-delta.ts';
import { DEFAULT_HISTORY_COLUMNS } from '../../src/connections/postgres/history-ddl.ts';
import type { HistoryTableFacts } from '../../src/connections/postgres/history-table.ts';
import type { DeltaTableFacts } from '../../src/connections/databricks/delta-table.ts';
import type { TopicFacts } from '../../src/setup/ports.ts';
import type { SubjectFacts } from '../../src/setup/plan-subject.ts';
import {
  column,
  currentIndex,
  employees,
  everything,
  goodDelta,
  goodHistory,
  historyWith,
  mapping,
  nothing,
  primaryKey,
  request,
} from './existing-things.ts';

/** `kind what: detail` of every step. */
function texts(plan: Plan): readonly string[] {
  return plan.map(({ kind, what, detail }) => `${kind} ${what}: ${detail}`);
}

describe('setup plan', () => {
  it('creates everything, in an order in which nothing is used before it exists', () => {
    const withDelta: Existing = { ...nothing, deltas: everything.deltas };
    assert.deepEqual(texts(planSetup(request, withDelta)), [
      'create control schema deltaferry: apply 0001_control',
      'create topic deltaferry.positions: 1 partition, compacted',
      'create topic employees_changes: 8 partitions, deleted after 7 days',
      'create topic employees_changes.dead-letters: 1 partition, deleted after 30 days',
      'create compatibility of employees_changes-value: set FULL_TRANSITIVE, it is not set',
      'create schema employees_changes-value: register version 1',
      'create history table public.employees: primary key (emp_id, on_date), one current version per key',
      'ok Delta table default.employees: change data feed on, columns and types fit',
    ]);
  });

  it('finds nothing to do where everything exists', () => {
    const plan = planSetup(request, everything);
    assert.deepEqual([...new Set(plan.map(({ kind }) => kind))], ['ok'], texts(plan).join('\n'));
  });

  it('shows the statements that create the history', () => {
    const step = planSetup(request, nothing).find(({ what }) => what === 'history table public.employees');
    assert.deepEqual(step?.sql, [
      [
        'CREATE TABLE "public"."employees" (',
        '  "emp_id" bigint NOT NULL,',
        '  "name" text,',
        '  "salary" numeric(12,2),',
        '  "is_active" boolean NOT NULL,',
        '  "on_date" timestamptz NOT NULL,',
        '  "off_date" timestamptz,',
        '  PRIMARY KEY ("emp_id", "on_date")',
        ')',
      ].join('\n'),
      'CREATE UNIQUE INDEX ON "public"."employees" ("emp_id") WHERE "off_date" IS NULL',
    ]);
  });

  it('lists every mismatch, not only the first', () => {
    const plan = planSetup(request, {
      ...everything,
      topics: new Map([
        ...everything.topics,
        ['employees_changes', { partitions: 3, config: { 'cleanup.policy': 'compact' } }],
      ]),
      histories: new Map([['public.employees', historyWith(column('salary', 'real'))]]),
      deltas: new Map([['default.employees', null]]),
    });
    assert.deepEqual(
      mismatchesOf(plan).map(({ what }) => what),
      [
        'topic employees_changes',
        'topic employees_changes',
        'history table public.employees',
        'Delta table default.employees',
      ],
    );
  });

  it('takes the request at its word: partitions, retention, own names', () => {
    const table = {
      mapping: mapping({ a: 'text', b: 'date', 'odd "name"': 'enum(hr.mood)' }, ['a', 'b']),
      topic: 't',
      partitions: 3,
      historyTable: 'hr.people',
      historyColumns: { onDate: 'from', offDate: 'to', isActive: 'current' },
    };
    const wanted = {
      tables: [table],
      retentionMs: 3_600_000,
      deadLetterRetentionMs: -1,
      positionsTopic: 'p',
    };
    const plan = planSetup(wanted, { ...nothing, histories: new Map() });
    assert.deepEqual(texts(plan).slice(1, 4), [
      'create topic p: 1 partition, compacted',
      'create topic t: 3 partitions, deleted after 1 hour',
      'create topic t.dead-letters: 1 partition, kept forever',
    ]);
    assert.deepEqual(plan.at(-1)?.sql, [
      [
        'CREATE TABLE "hr"."people" (',
        '  "a" text NOT NULL,',
        '  "b" date NOT NULL,',
        '  "odd ""name""" "hr"."mood",',
        '  "current" boolean NOT NULL,',
        '  "from" timestamptz NOT NULL,',
        '  "to" timestamptz,',
        '  PRIMARY KEY ("a", "b", "from")',
        ')',
      ].join('\n'),
      'CREATE UNIQUE INDEX ON "hr"."people" ("a", "b") WHERE "to" IS NULL',
    ]);
  });

  it('refuses a key type that has no single text on both engines', () => {
    const table = {
      ...request.tables[0]!,
      mapping: mapping({ emp_id: 'numeric(12,0)', on_date: 'timestamptz' }),
    };
    const problems = mismatchesOf(planSetup({ tables: [table] }, nothing)).filter(
      ({ what }) => what === 'mapping employees',
    );
    assert.match(
      problems[0]?.detail ?? '',
      /column emp_id is numeric\(12,0\); a key column must be one of bigint/,
    );
    assert.match(problems[1]?.detail ?? '', /column on_date is one that the history keeps itself/);
  });
});

describe('existing topics', () => {
  const cases: readonly {
    name: string;
    topic: string;
    found: TopicFacts;
    expected: readonly (string | RegExp)[];
  }[] = [
    {
      name: 'another number of partitions would move keys',
      topic: 'employees_changes',
      found: { partitions: 12, config: { 'cleanup.policy': 'delete', 'retention.ms': '604800000' } },
      expected: [/^mismatch .*: has 12 partitions, 8 partitions wanted. Set `partitions: 12`/],
    },
    {
      name: 'compaction would lose the versions between',
      topic: 'employees_changes',
      found: { partitions: 8, config: { 'cleanup.policy': 'compact,delete', 'retention.ms': '604800000' } },
      expected: [
        /^mismatch .*: cleanup.policy is compact,delete, it must be delete: compaction drops the versions/,
      ],
    },
    {
      name: 'positions that expire would be read as no position',
      topic: 'deltaferry.positions',
      found: { partitions: 1, config: { 'cleanup.policy': 'delete' } },
      expected: [/^mismatch .*: cleanup.policy is delete, it must be compact: positions that expire/],
    },
    {
      name: 'a shorter retention is allowed, and said',
      topic: 'employees_changes',
      found: { partitions: 8, config: { 'cleanup.policy': 'delete', 'retention.ms': '86400000' } },
      expected: [/^ok /, /^warning .*: keeps records for 1 day, 7 days wanted/],
    },
    {
      name: 'a longer or unlimited retention is fine',
      topic: 'employees_changes',
      found: { partitions: 8, config: { 'cleanup.policy': 'delete', 'retention.ms': '-1' } },
      expected: ['ok topic employees_changes: 8 partitions, delete'],
    },
    {
      name: 'a limit by size is said too',
      topic: 'employees_changes',
      found: {
        partitions: 8,
        config: { 'cleanup.policy': 'delete', 'retention.ms': '-1', 'retention.bytes': '1000' },
      },
      expected: [/^ok /, /^warning .*: keeps at most 1000 bytes of each partition \(retention.bytes\)/],
    },
    {
      name: 'dead letters may have any number of partitions',
      topic: 'employees_changes.dead-letters',
      found: { partitions: 8, config: { 'cleanup.policy': 'delete', 'retention.ms': '-1' } },
      expected: ['ok topic employees_changes.dead-letters: 8 partitions, delete'],
    },
  ];
  for (const { name, topic, found, expected } of cases)
    it(name, () => {
      const plan = planSetup(request, {
        ...everything,
        topics: new Map([...everything.topics, [topic, found]]),
      });
      expectTexts(
        plan.filter(({ what }) => what === `topic ${topic}`),
        expected,
      );
    });
});

describe('existing schemas', () => {
  const wanted = changeSchema(employees);
  const level = 'FULL_TRANSITIVE';
  const registered = (schema: object) => ({ id: 7, version: 3, schema });
  const cases: readonly { name: string; found: SubjectFacts; expected: readonly (string | RegExp)[] }[] = [
    {
      name: 'the schema of the mapping under the right level is all there is to it',
      found: { level, latest: registered(wanted), refusal: null },
      expected: [/^ok schema employees_changes-value: version 3, id 7, FULL_TRANSITIVE$/],
    },
    {
      name: 'the level is set where a registry with default NONE would take anything',
      found: { level: null, latest: registered(wanted), refusal: null },
      expected: [/^create compatibility .*: set FULL_TRANSITIVE, it is not set$/, /^ok /],
    },
    {
      name: 'a column more is the next version',
      found: {
        level,
        latest: registered(changeSchema(mapping({ emp_id: 'bigint', name: 'text' }))),
        refusal: null,
      },
      expected: [/^create schema .*: register a version after 3: the mapping has changed$/],
    },
    {
      name: 'what the registry refuses is told in its words',
      found: {
        level,
        latest: registered(changeSchema(mapping({ emp_id: 'text' }))),
        refusal: 'READER_TYPE_MISMATCH at /fields/1',
      },
      expected: [
        /^mismatch schema .*version 3 is not the schema of the mapping.*the registry refuses it: READER_TYPE_MISMATCH at .fields.1; field Row.emp_id was string and would be long/,
      ],
    },
    {
      name: 'another scale is refused, though to the registry both are bytes',
      found: {
        level,
        latest: registered(
          changeSchema(mapping({ emp_id: 'bigint', name: 'text', salary: 'numeric(12,4)' })),
        ),
        refusal: null,
      },
      expected: [/^mismatch .*field Row.salary was decimal\(12,4\) and would be decimal\(12,2\)/],
    },
    {
      name: 'another unit is refused, though to the registry both are longs',
      found: {
        level,
        latest: registered(
          changeSchema(mapping({ emp_id: 'timestamptz', name: 'text', salary: 'numeric(12,2)' })),
        ),
        refusal: null,
      },
      expected: [/^mismatch .*field Row.emp_id was timestamp-micros and would be long/],
    },
    {
      name: 'more digits before the point are the next version',
      found: {
        level,
        latest: registered(
          changeSchema(mapping({ emp_id: 'bigint', name: 'text', salary: 'numeric(10,2)' })),
        ),
        refusal: null,
      },
      expected: [/^create schema .*: register a version after 3/],
    },
    {
      name: 'under another level the registry cannot tell whether the next version fits',
      found: {
        level: 'BACKWARD',
        latest: registered(changeSchema(mapping({ emp_id: 'bigint' }))),
        refusal: null,
      },
      expected: [
        /^mismatch .*the registry cannot tell: the subject's compatibility is BACKWARD. Set it to FULL_TRANSITIVE/,
      ],
    },
  ];
  for (const { name, found, expected } of cases)
    it(name, () => {
      const plan = planSetup(request, {
        ...everything,
        subjects: new Map([['employees_changes-value', found]]),
      });
      expectTexts(
        plan.filter(({ what }) => what.endsWith('employees_changes-value')),
        expected,
      );
    });
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
      expected: [/^mismatch .*: column is_active can be null, NOT NULL wanted$/],
      sql: ['ALTER TABLE "public"."employees" ALTER COLUMN "is_active" SET NOT NULL'],
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

describe('an existing Delta table', () => {
  const withColumn = (name: string, type: string): DeltaTableFacts => ({
    ...goodDelta,
    columns: goodDelta.columns.map((old) => (old.name === name ? { name, type } : old)),
  });
  const cases: readonly {
    name: string;
    found: DeltaTableFacts | null;
    expected: readonly RegExp[];
    sql?: string;
  }[] = [
    { name: 'that fits', found: goodDelta, expected: [/^ok /] },
    {
      name: 'does not exist',
      found: null,
      expected: [/^mismatch Delta table default.employees: does not exist$/],
      sql:
        'CREATE TABLE `default`.`employees` (`emp_id` BIGINT, `name` STRING, `salary` DECIMAL(12,2)) USING DELTA ' +
        "TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true', 'delta.enableInCommitTimestamps' = 'true')",
    },
    {
      name: 'is of another format',
      found: { ...goodDelta, format: 'parquet' },
      expected: [/^mismatch .*: is a parquet/],
    },
    {
      name: 'records no changes',
      found: { ...goodDelta, properties: { 'delta.enableInCommitTimestamps': 'true' } },
      expected: [/^mismatch .*: its change data feed is off/],
      sql: "ALTER TABLE `default`.`employees` SET TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')",
    },
    {
      name: 'without in-commit timestamps works, with a word of advice',
      found: { ...goodDelta, properties: { 'delta.enableChangeDataFeed': 'true' } },
      expected: [/^ok /, /^warning .*: has no in-commit timestamps/],
      sql: "ALTER TABLE `default`.`employees` SET TBLPROPERTIES ('delta.enableInCommitTimestamps' = 'true')",
    },
    {
      name: 'lacks a mapped column',
      found: { ...goodDelta, columns: goodDelta.columns.slice(0, 2) },
      expected: [/^mismatch .*: column salary \(DECIMAL\(12,2\)\) is missing$/],
      sql: 'ALTER TABLE `default`.`employees` ADD COLUMNS (`salary` DECIMAL(12,2))',
    },
    {
      name: 'has another type',
      found: withColumn('salary', 'double'),
      expected: [/^mismatch .*: column salary is DOUBLE, DECIMAL\(12,2\) wanted/],
    },
    { name: 'has another scale', found: withColumn('salary', 'decimal(12,3)'), expected: [/^mismatch /] },
    { name: 'has fewer digits', found: withColumn('salary', 'decimal(10,2)'), expected: [/^ok /] },
    { name: 'has a narrower integer', found: withColumn('emp_id', 'int'), expected: [/^ok /] },
    { name: 'spells its columns in capitals', found: withColumn('name', 'varchar(20)'), expected: [/^ok /] },
  ];
  for (const { name, found, expected, sql } of cases)
    it(name, () => {
      const steps = planDeltaTable('default.employees', employees, found);
      expectTexts(steps, expected);
      if (sql !== undefined)
        assert.deepEqual(
          steps.flatMap((step) => step.sql ?? []),
          [sql],
        );
    });
});

function expectTexts(plan: Plan, expected: readonly (string | RegExp)[]): void {
  const found = texts(plan);
  assert.equal(found.length, expected.length, found.join('\n'));
  for (const [at, pattern] of expected.entries())
    if (typeof pattern === 'string') assert.equal(found[at], pattern);
    else assert.match(found[at] ?? '', pattern);
}
