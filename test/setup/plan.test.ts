import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mismatchesOf, planSetup, type Existing } from '../../src/setup/plan.ts';
import { column, everything, historyWith, mapping, nothing, request } from './existing-things.ts';
import { texts } from './step-texts.ts';

describe('setup plan', () => {
  it('creates everything, in an order in which nothing is used before it exists', () => {
    const withDelta: Existing = { ...nothing, deltas: everything.deltas };
    assert.deepEqual(texts(planSetup(request, withDelta)), [
      'create control schema deltaferry: apply 0001_control, 0002_capture_and_merge',
      'create topic deltaferry.positions: 1 partition, compacted',
      'create topic employees_changes: 8 partitions, deleted after 7 days',
      'create topic employees_changes.dead-letters: 1 partition, deleted after 30 days',
      'create topic employees_backfill: 8 partitions, compacted',
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
