import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CaptureFacts } from '../../src/connections/postgres/captured-table.ts';
import type { Plan } from '../../src/setup/plan.ts';
import type { SetupRequest, SetupTable } from '../../src/setup/request.ts';
import { plainColumns, plainFacts, plainTable, steps } from './captured.ts';
import {
  capturedRequest,
  column,
  employees,
  goodCapture,
  goodHistory,
  mapping,
  primaryKey,
  relation,
  uncaptured,
} from './existing-things.ts';
import { expectTexts, texts } from './step-texts.ts';

const ofPlain: SetupRequest = { tables: [plainTable] };

function ofCapture(plan: Plan): Plan {
  return plan.filter(({ what }) => what.startsWith('capture'));
}

describe('capture of a history that is kept as well', () => {
  it('is installed', () => {
    const plan = ofCapture(steps(capturedRequest, uncaptured));
    expectTexts(plan, [
      'create capture of public.employees: log, function, triggers for INSERT, UPDATE, DELETE, TRUNCATE',
    ]);
    const sql = plan[0]?.sql?.join('\n') ?? '';
    assert.match(sql, /CREATE TABLE deltaferry\."employees_changes" \(/);
    assert.match(sql, /CREATE OR REPLACE FUNCTION deltaferry\."log_to_kafka_employees"\(\)/);
    assert.match(sql, /"deltaferry_employees_truncate" BEFORE TRUNCATE ON public\.employees /);
  });

  it('is left alone where it is as it would be installed', () => {
    expectTexts(ofCapture(steps(capturedRequest, goodCapture)), [
      'ok capture of public.employees: log, function and triggers are in place',
    ]);
  });

  it('is installed on a history that is to be created before', () => {
    const table = { exists: false, schemaExists: true, enums: new Map() } as const;
    const plan = steps(
      capturedRequest,
      { ...uncaptured, table, relations: [] },
      { histories: new Map([['public.employees', table]]) },
    );
    const created = texts(plan).filter((step) => step.startsWith('create'));
    assert.deepEqual(created, [
      'create history table public.employees: primary key (emp_id, on_date), one current version per key',
      'create capture of public.employees: log, function, triggers for INSERT, UPDATE, DELETE, TRUNCATE',
    ]);
    assert.match(plan.at(-1)?.sql?.join('\n') ?? '', /TRUNCATE ON "public"\."employees" /);
  });

  it('gets its function anew when the mapped columns changed, and nothing else', () => {
    const plan = ofCapture(steps(capturedRequest, { ...goodCapture, function: 'differs' }));
    expectTexts(plan, ['create capture of public.employees: function anew']);
    assert.equal(plan[0]?.sql?.length, 2);
  });

  it('gets the triggers that somebody dropped, on partitions as well', () => {
    const relations = [relation('public.employees', 'same'), relation('public.p1', 'missing')];
    relations[0] = { ...relations[0]!, triggers: { ...relations[0]!.triggers, delete: 'differs' } };
    const plan = ofCapture(steps(capturedRequest, { ...goodCapture, relations }));
    expectTexts(plan, [
      'create capture of public.employees: triggers for INSERT, UPDATE, DELETE, TRUNCATE on 2 tables',
    ]);
    assert.equal(plan[0]?.sql?.length, 5);
  });

  it('says once what the history lacks', () => {
    const table = { ...goodHistory, columns: goodHistory.columns.filter(({ name }) => name !== 'salary') };
    const plan = steps(
      capturedRequest,
      { ...uncaptured, table },
      { histories: new Map([['public.employees', table]]) },
    );
    assert.deepEqual(
      texts(plan).filter((step) => step.includes('salary')),
      ['mismatch history table public.employees: column salary (numeric(12,2)) is missing'],
    );
  });
});

describe('a table that is to be captured', () => {
  const refused: readonly {
    name: string;
    wanted?: SetupRequest;
    facts: CaptureFacts;
    expected: readonly RegExp[];
    sql?: string;
  }[] = [
    {
      name: 'does not exist',
      facts: { ...plainFacts, table: { exists: false, schemaExists: true, enums: new Map() }, relations: [] },
      expected: [/there is no such table/],
      sql: 'CREATE TABLE "public"."employees" ("emp_id" bigint, "name" text, "salary" numeric(12,2), PRIMARY KEY ("emp_id"))',
    },
    { name: 'is a view', facts: withTable({ kind: 'view' }), expected: [/is a view: only tables/] },
    {
      name: 'has no primary key',
      facts: withTable({ uniqueIndexes: [] }),
      expected: [/has no primary key: \(emp_id\) wanted/],
      sql: 'ALTER TABLE "public"."employees" ADD PRIMARY KEY ("emp_id")',
    },
    {
      name: 'has another primary key',
      facts: withTable({ uniqueIndexes: [{ ...primaryKey, columns: ['id'] }] }),
      expected: [/its primary key is \(id\), and \(emp_id\) is wanted: make it the key of the mapping/],
    },
    {
      name: 'has a wider primary key',
      facts: withTable({ uniqueIndexes: [primaryKey] }),
      expected: [/its primary key is \(emp_id, on_date\), and \(emp_id\) is wanted/],
    },
    {
      name: 'has a primary key that is checked at commit only',
      facts: withTable({ uniqueIndexes: [{ ...primaryKey, columns: ['emp_id'], enforced: false }] }),
      expected: [/its primary key employees_pkey is deferrable/],
    },
    {
      name: 'computes a mapped column',
      facts: withTable({
        columns: [...plainColumns.slice(0, 2), column('salary', 'numeric(12,2)', { generated: true })],
      }),
      expected: [/column salary is a generated column: leave it out of the mapping/],
      sql: 'ALTER TABLE "public"."employees" ALTER COLUMN "salary" DROP EXPRESSION',
    },
    {
      name: 'has a type that the mapping does not hold',
      facts: withTable({ columns: [...plainColumns.slice(0, 2), column('salary', 'numeric(14,2)')] }),
      expected: [
        /column salary is numeric\(14,2\), and numeric\(12,2\) does not hold all that it can: map it/,
      ],
      sql: 'ALTER TABLE "public"."employees" ALTER COLUMN "salary" TYPE numeric(12,2)',
    },
    {
      name: 'has a type that nothing holds',
      facts: withTable({ columns: [...plainColumns.slice(0, 2), column('salary', 'numeric')] }),
      expected: [/column salary is numeric, and/],
    },
    {
      name: 'lacks a mapped column',
      facts: withTable({ columns: plainColumns.slice(0, 2) }),
      expected: [/column salary \(numeric\(12,2\)\) is missing/],
    },
    {
      name: 'is emptied by a crash',
      facts: withTable({ logged: false }),
      expected: [/is UNLOGGED/],
      sql: 'ALTER TABLE "public"."employees" SET LOGGED',
    },
    {
      name: 'is a partition itself',
      facts: { ...plainFacts, partitionOf: 'public.all_employees' },
      expected: [/is a partition: .* Capture public.all_employees/],
    },
    { name: 'inherits', facts: { ...plainFacts, inherits: true }, expected: [/by INHERITS/] },
    {
      name: 'has a foreign partition',
      facts: withRelation({ kind: 'foreign table' }),
      expected: [/its partition public.employees is a foreign table/],
    },
    {
      name: 'may not be captured by this role',
      facts: withRelation({ mayTrigger: false }),
      expected: [/role deltaferry lacks the TRIGGER privilege on public.employees/],
      sql: 'GRANT TRIGGER ON public.employees TO "deltaferry"',
    },
    {
      name: 'may not be read by this role',
      facts: withRelation({ maySelect: false }),
      expected: [/lacks the SELECT privilege/],
      sql: 'GRANT SELECT ON public.employees TO "deltaferry"',
    },
    {
      name: 'hides rows from this role',
      facts: withRelation({ rowsHidden: true }),
      expected: [/row level security hides rows/],
      sql: 'ALTER ROLE "deltaferry" BYPASSRLS',
    },
    {
      name: 'is captured by another role',
      facts: { ...plainFacts, foreignOwner: 'postgres' },
      expected: [/belongs to role postgres, of which deltaferry is no member: run setup as postgres/],
    },
    {
      name: 'has something else in the place of its log',
      facts: { ...plainFacts, log: 'differs' },
      expected: [/deltaferry.employees_changes is not the log that this version writes to/],
    },
    {
      name: 'shares its log with a table that is not part of it any more',
      facts: { ...plainFacts, strays: ['public.detached'] },
      expected: [/public.detached is not part of it/],
    },
    {
      name: 'has a name that leaves no room for others',
      wanted: { tables: [{ ...plainTable, mapping: { ...employees, name: 'e'.repeat(43) } }] },
      facts: plainFacts,
      expected: [/its name is too long to be captured .* 2 bytes shorter/],
    },
    {
      name: 'is a history without an end',
      wanted: {
        tables: [
          {
            ...plainTable,
            captured: { table: 'public.employees', history: { onDate: 'on_date', offDate: 'off_date' } },
          },
        ],
      },
      facts: { ...plainFacts, table: { ...goodHistory, columns: goodHistory.columns.slice(0, 5) } },
      expected: [/column off_date \(timestamptz\) is missing/],
    },
    {
      name: 'is a history whose key is not the mapping’s',
      wanted: {
        tables: [
          {
            ...plainTable,
            captured: { table: 'public.employees', history: { onDate: 'on_date', offDate: 'off_date' } },
          },
        ],
      },
      facts: {
        ...plainFacts,
        table: { ...goodHistory, uniqueIndexes: [{ ...primaryKey, columns: ['emp_id'] }] },
      },
      expected: [/its primary key is \(emp_id\), and \(emp_id, on_date\) is wanted: .* without on_date/],
    },
  ];
  for (const { name, wanted = ofPlain, facts, expected, sql } of refused)
    it(`is refused where it ${name}`, () => {
      const found = steps(wanted, facts).filter(({ kind }) => kind === 'mismatch');
      expectTexts(found, expected);
      if (sql !== undefined) assert.deepEqual(found[0]?.sql, [sql]);
    });

  const held: readonly (readonly [type: string, mapped: string])[] = [
    ['integer', 'bigint'],
    ['numeric(10,1)', 'numeric(12,2)'],
    ['character varying(20)', 'varchar(40)'],
    ['character varying(20)', 'text'],
  ];
  for (const [type, mapped] of held)
    it(`may be ${type} where ${mapped} is mapped`, () => {
      const table: SetupTable = { ...plainTable, mapping: mapping({ emp_id: 'bigint', x: mapped }) };
      const facts = withTable({ columns: [plainColumns[0]!, column('x', type)] });
      const plan = ofCapture(steps({ tables: [table] }, facts));
      assert.deepEqual(
        plan.map(({ kind }) => kind),
        ['create'],
        texts(plan).join('\n'),
      );
    });

  const notHeld: readonly (readonly [type: string, mapped: string])[] = [
    ['bigint', 'integer'],
    ['numeric(12,3)', 'numeric(12,2)'],
    ['numeric(12,1)', 'numeric(12,2)'],
    ['text', 'varchar(40)'],
    ['real', 'double precision'],
    ['timestamp with time zone', 'timestamp'],
    ['json', 'jsonb'],
    ['text[]', 'text'],
    ['character(3)', 'text'],
  ];
  for (const [type, mapped] of notHeld)
    it(`must not be ${type} where ${mapped} is mapped`, () => {
      const table: SetupTable = { ...plainTable, mapping: mapping({ emp_id: 'bigint', x: mapped }) };
      const facts = withTable({ columns: [plainColumns[0]!, column('x', type)] });
      const plan = ofCapture(steps({ tables: [table] }, facts));
      assert.deepEqual(
        plan.map(({ kind }) => kind),
        ['mismatch'],
        texts(plan).join('\n'),
      );
    });
});

function withTable(changed: Partial<typeof goodHistory>): CaptureFacts {
  return { ...plainFacts, table: { ...(plainFacts.table as typeof goodHistory), ...changed } };
}

function withRelation(changed: Parameters<typeof relation>[2]): CaptureFacts {
  return { ...plainFacts, relations: [relation('public.employees', 'missing', changed)] };
}
