import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { generateEmployeeHistory, readEmployeeHistory } from '../../src/demo/employee-history.ts';
import { UsageError } from '../../src/errors.ts';

const folder = mkdtempSync(join(tmpdir(), 'deltaferry-input-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const HEADER = 'emp_id,name,salary,from_date,to_date';

let files = 0;
function file(text: string): string {
  const path = join(folder, `${(files += 1)}.csv`);
  writeFileSync(path, text);
  return path;
}

const read = (...lines: string[]) => readEmployeeHistory(file([HEADER, ...lines, ''].join('\n')));
const of = (name: string, salary: string) => ({ name, salary });

describe('an employee history from a file', () => {
  it('holds the versions of each employee in order of time, wherever they stand; an open one is still there', async () => {
    assert.deepEqual(
      await read(
        '7,Ann,200.5,2021-01-01,2022-01-01',
        '8,Bob,1,2020-01-01,2020-06-30',
        '7,Ann,100,2020-01-01,2021-01-01',
        '7,"Ann ""A"", jr.",300.25,2022-01-01,',
      ),
      [
        {
          id: 7,
          versions: [of('Ann', '100.00'), of('Ann', '200.50'), of('Ann "A", jr.', '300.25')],
          leaves: false,
        },
        { id: 8, versions: [of('Bob', '1.00')], leaves: true },
      ],
    );
  });

  it('leaves versions that begin on one day in the order of the file', async () => {
    const salaries = Array.from({ length: 30 }, (_, n) => `${n + 1}.00`);
    const [employee] = await read(
      ...salaries.map((salary) => `7,Ann,${salary},2020-01-01,2020-01-01`),
      '7,Ann,99,2021-01-01,',
    );
    assert.deepEqual(
      employee!.versions.map(({ salary }) => salary),
      [...salaries, '99.00'],
    );
  });

  it('takes other columns, another order of columns, a byte order mark and Windows line ends', async () => {
    const path = file('\uFEFFname,more,emp_id,to_date,from_date,salary\r\nZoë 李,x,7,,2020-01-01,1\r\n');
    assert.deepEqual(await readEmployeeHistory(path), [
      { id: 7, versions: [of('Zoë 李', '1.00')], leaves: false },
    ]);
  });

  const refused: readonly { name: string; text: string; says: RegExp }[] = [
    {
      name: 'a missing column',
      text: 'emp_id,name,from_date\n',
      says: /line 1: column salary, to_date is missing/,
    },
    { name: 'no employee', text: `${HEADER}\n`, says: /holds no employee/ },
    { name: 'nothing at all', text: '', says: /holds no employee/ },
    {
      name: 'an id that is no number',
      text: `${HEADER}\n1,A,1,2020-01-01,\nx,A,1,2020-01-01,\n`,
      says: /line 3: emp_id .*"x"/,
    },
    {
      name: 'an id beyond exact numbers',
      text: `${HEADER}\n9999999999999999,A,1,2020-01-01,\n`,
      says: /line 2: emp_id/,
    },
    {
      name: 'a salary that would be rounded',
      text: `${HEADER}\n1,A,1.005,2020-01-01,\n`,
      says: /line 2: salary .*"1\.005"/,
    },
    { name: 'a salary too large', text: `${HEADER}\n1,A,12345678901,2020-01-01,\n`, says: /line 2: salary/ },
    {
      name: 'a date of another form',
      text: `${HEADER}\n1,A,1,01.02.2020,\n`,
      says: /line 2: from_date .*"01\.02\.2020"/,
    },
    { name: 'an empty first date', text: `${HEADER}\n1,A,1,,\n`, says: /line 2: from_date/ },
    { name: 'a line with too few fields', text: `${HEADER}\n1,A,1\n`, says: /line 2/ },
  ];
  for (const { name, text, says } of refused)
    it(`refuses ${name}, by line and field`, async () => {
      const path = file(text);
      await assert.rejects(readEmployeeHistory(path), (error) => {
        assert.ok(error instanceof UsageError);
        assert.match(error.message, says);
        assert.ok(error.message.includes(path));
        return true;
      });
    });

  it('refuses a file that is not there', async () => {
    await assert.rejects(
      readEmployeeHistory(join(folder, 'none.csv')),
      (error) => error instanceof UsageError && /none\.csv: .*no such file/.test(error.message),
    );
  });
});

describe('a generated employee history', () => {
  const employees = generateEmployeeHistory();

  it('is the same every time, and another with another seed', () => {
    assert.deepEqual(generateEmployeeHistory(), employees);
    assert.notDeepEqual(generateEmployeeHistory(1000, 7), employees);
  });

  it('has the shape of the real one: leavers, versions without a change, one to eighteen versions each', () => {
    assert.equal(employees.length, 1000);
    assert.equal(new Set(employees.map(({ id }) => id)).size, 1000);
    const counts = employees.map(({ versions }) => versions.length);
    assert.deepEqual([Math.min(...counts), Math.max(...counts)], [1, 18]);
    const leavers = employees.filter(({ leaves }) => leaves).length;
    assert.ok(leavers > 150 && leavers < 250, `${leavers} leave`);
    const unchanged = employees.flatMap(({ versions }) =>
      versions.filter(({ salary }, k) => versions[k - 1]?.salary === salary),
    );
    assert.ok(unchanged.length > 200, `${unchanged.length} versions equal the one before`);
    for (const { versions } of employees)
      for (const { salary, name } of versions) {
        assert.match(salary, /^\d{1,10}\.\d\d$/);
        assert.ok(name.length > 3);
      }
  });
});
