import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { DeltaTableFacts } from '../../src/connections/databricks/delta-table.ts';
import { planDeltaTable } from '../../src/setup/plan-delta.ts';
import { employees, goodDelta } from './existing-things.ts';
import { expectTexts } from './step-texts.ts';

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
