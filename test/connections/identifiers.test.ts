import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  quoteDatabricksIdent,
  quoteDatabricksQualified,
  quoteIdent,
  quoteQualified,
  splitQualified,
} from '../../src/connections/identifiers.ts';
import { UsageError } from '../../src/errors.ts';

describe('a name in a statement is only ever a name', () => {
  const CASES: readonly [name: string, postgres: string, databricks: string][] = [
    ['employees', '"employees"', '`employees`'],
    ['hr.employees', '"hr"."employees"', '`hr`.`employees`'],
    ['main.hr.employees', '"main"."hr"."employees"', '`main`.`hr`.`employees`'],
    ['Mixed Case.x; DROP TABLE y', '"Mixed Case"."x; DROP TABLE y"', '`Mixed Case`.`x; DROP TABLE y`'],
  ];
  for (const [name, postgres, databricks] of CASES)
    test(name, () => {
      assert.equal(quoteQualified(name), postgres);
      assert.equal(quoteDatabricksQualified(name), databricks);
    });

  test('quotes inside a name are doubled', () => {
    assert.equal(quoteIdent('a"; DROP TABLE x --'), '"a""; DROP TABLE x --"');
    assert.equal(quoteDatabricksIdent('a`b"'), '`a``b"`');
  });

  test('a part in quotes may hold dots and doubled quotes', () => {
    assert.deepEqual(splitQualified('"odd.""schema""".t'), ['odd."schema"', 't']);
    assert.equal(quoteQualified('"odd.""schema""".t'), '"odd.""schema"""."t"');
    assert.deepEqual(splitQualified('`a.b`.c', 'databricks'), ['a.b', 'c']);
  });
});

describe('a name that the engine cannot hold is refused with its reason', () => {
  for (const [name, why] of [
    ['', /schema\.table/],
    ['a.', /schema\.table/],
    ['.a', /schema\.table/],
    ['a..b', /schema\.table/],
    ['"a', /schema\.table/],
    ['a"b', /schema\.table/],
    ['a\0b', /NUL/],
    ['x'.repeat(64), /63 bytes/],
    ['é'.repeat(32), /63 bytes/],
  ] as const)
    test(JSON.stringify(name), () => {
      assert.throws(
        () => quoteQualified(name),
        (error) => error instanceof UsageError && why.test(error.message),
      );
    });
});
