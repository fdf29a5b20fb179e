import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Employee } from '../../src/demo/employee-history.ts';
import {
  commitsOf,
  describe as textOf,
  differences,
  expectedVersions,
  nextYear,
  stateAfter,
  stateDifferences,
  type HistoryVersion,
} from '../../src/demo/truth.ts';

const of = (name: string, salary: string) => ({ name, salary });

const STAYS: Employee = {
  id: 1,
  versions: [of('Ann', '1.00'), of('Ann', '1.00'), of('Ann', '2.00')],
  leaves: false,
};
const LEAVES: Employee = { id: 2, versions: [of('Bob', '1.00'), of('Bob', '2.00')], leaves: true };
const SHORT: Employee = { id: 3, versions: [of('Eve', '5.00')], leaves: true };
const TIMES = [1000, 2000, 3000];

const version = (
  empId: number,
  name: string,
  salary: string,
  from: number,
  to: number | null,
): HistoryVersion => ({
  empId,
  name,
  salary,
  isActive: to === null,
  from,
  to,
});

describe('the replayed truth', () => {
  it('puts the k-th version of everybody in commit k, and deletes whoever has left by then', () => {
    const upsert = (empId: number, name: string, salary: string) => ({ op: 'upsert', empId, name, salary });
    assert.deepEqual(commitsOf([STAYS, LEAVES, SHORT]), [
      [upsert(1, 'Ann', '1.00'), upsert(2, 'Bob', '1.00'), upsert(3, 'Eve', '5.00')],
      [upsert(1, 'Ann', '1.00'), upsert(2, 'Bob', '2.00'), { op: 'delete', empId: 3 }],
      [upsert(1, 'Ann', '2.00'), { op: 'delete', empId: 2 }],
    ]);
  });

  it('adds a commit for those who leave last', () => {
    assert.deepEqual(commitsOf([SHORT]).at(-1), [{ op: 'delete', empId: 3 }]);
  });

  it('expects a version from each change to the next, none where nothing changed, an end where one leaves', () => {
    assert.deepEqual(expectedVersions([LEAVES, SHORT, STAYS], TIMES), [
      version(1, 'Ann', '1.00', 1000, 3000),
      version(1, 'Ann', '2.00', 3000, null),
      version(2, 'Bob', '1.00', 1000, 2000),
      version(2, 'Bob', '2.00', 2000, 3000),
      version(3, 'Eve', '5.00', 1000, 2000),
    ]);
  });
});

describe('differences', () => {
  const expected = expectedVersions([STAYS, LEAVES, SHORT], TIMES);
  const altered = (at: number, change: Partial<HistoryVersion>) =>
    expected.map((one, index) => (index === at ? { ...one, ...change } : one));

  it('are none between equals', () => {
    assert.deepEqual(differences(expected, structuredClone(expected)), []);
    assert.deepEqual(differences([], []), []);
  });

  const corruptions: readonly { name: string; found: readonly HistoryVersion[]; keys: readonly number[] }[] =
    [
      { name: 'a missing version', found: expected.slice(1), keys: [1] },
      { name: 'a version too many', found: [...expected, version(4, 'Mal', '1.00', 5, null)], keys: [4] },
      { name: 'another name', found: altered(2, { name: 'Rob' }), keys: [2] },
      { name: 'a salary off by a cent', found: altered(1, { salary: '2.01' }), keys: [1] },
      { name: 'a microsecond late in its beginning', found: altered(4, { from: 1001 }), keys: [3, 3] },
      { name: 'a microsecond late in its end', found: altered(3, { to: 3001 }), keys: [2] },
      { name: 'an end that is missing', found: altered(3, { to: null }), keys: [2] },
      { name: 'a flag that belies the end', found: altered(1, { isActive: false }), keys: [1] },
      { name: 'the same version twice', found: [...expected, expected[0]!], keys: [1] },
      {
        name: 'one version twice and another not at all',
        found: [expected[0]!, expected[0]!, ...expected.slice(2)],
        keys: [1, 1],
      },
      {
        name: 'one version twice beside another difference',
        found: [...altered(4, { name: 'Eva' }), expected[0]!],
        keys: [3, 1],
      },
      { name: 'nothing', found: [], keys: expected.map(({ empId }) => empId) },
    ];
  for (const { name, found, keys } of corruptions)
    it(`name the key of ${name}`, () => {
      assert.deepEqual(
        differences(expected, found).map(({ empId }) => empId),
        keys,
      );
    });

  it('are told with their times to the microsecond', () => {
    assert.equal(
      textOf(version(7, 'Zoë', '1.00', 1_735_689_600_000_001, null)),
      '7 Zoë 1.00 [2025-01-01T00:00:00.000001Z, …) current',
    );
    assert.equal(
      textOf(version(7, 'Zoë', '1.00', 0, 999)),
      '7 Zoë 1.00 [1970-01-01T00:00:00.000000Z, 1970-01-01T00:00:00.000999Z) ended',
    );
    assert.equal(textOf(null), '(no such version)');
  });
});

describe('the state after transactions', () => {
  const ann = { empId: 1, name: 'Ann', salary: '1.00' };
  const upsert = (empId: number, name: string, salary: string) =>
    ({ op: 'upsert', empId, name, salary }) as const;
  const remove = (empId: number) => ({ op: 'delete', empId }) as const;

  it('counts what changes something, and nothing else', () => {
    const { state, changes } = stateAfter(new Map([[1, ann]]), [
      [upsert(1, 'Ann', '1.00'), upsert(2, 'Bob', '2.00'), remove(3)],
      [upsert(1, 'Ann', '1.01'), remove(2)],
      [upsert(2, 'Bob', '2.00')],
    ]);
    assert.deepEqual(
      [...state.values()],
      [
        { empId: 1, name: 'Ann', salary: '1.01' },
        { empId: 2, name: 'Bob', salary: '2.00' },
      ],
    );
    assert.equal(changes, 4);
  });

  it('differs where a row is wrong, missing, one too many, or there twice', () => {
    const expected = new Map([1, 2, 3].map((id) => [id, { ...ann, empId: id }]));
    const found = [
      { ...ann, salary: '1.01' },
      { ...ann, empId: 2 },
      { ...ann, empId: 2 },
      { ...ann, empId: 4 },
    ];
    assert.deepEqual(stateDifferences(expected, found), [
      { expected: '1 Ann 1.00', found: '1 Ann 1.01' },
      { expected: '(no such employee)', found: '2 Ann 1.00' },
      { expected: '(no such employee)', found: '4 Ann 1.00' },
      { expected: '3 Ann 1.00', found: '(no such employee)' },
    ]);
    assert.deepEqual(stateDifferences(expected, [...expected.values()]), []);
  });

  it('of the next year has rises, people who leave and come back, and new ones, one row each per transaction', () => {
    const before = new Map(Array.from({ length: 100 }, (_, n) => [n, { ...ann, empId: n }]));
    const year = nextYear(before);
    for (const rows of year) assert.equal(new Set(rows.map(({ empId }) => empId)).size, rows.length);
    const left = new Set(year.flat().flatMap((row) => (row.op === 'delete' ? [row.empId] : [])));
    const after = stateAfter(before, year);
    const back = [...left].filter((id) => after.state.has(id));
    assert.ok(back.length > 0 && back.length < left.size, `${back.length} of ${left.size} came back`);
    assert.equal(after.state.size, 100 - left.size + back.length + year.length);
    assert.equal(after.changes, year.flat().length);
  });
});
