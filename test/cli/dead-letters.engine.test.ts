import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Letter, LettersOfTable } from '../../src/service/dead-letters.ts';
import { employeeChange, openRecords, type Records } from '../support/records.ts';
import { QUICK, startService } from '../support/service.ts';
import { openSite, type Site } from '../support/site.ts';
import { until } from '../support/until.ts';
import { deltaferry } from './spawned.ts';

const BIG = 9_007_199_254_740_993n;

describe('deltaferry dead-letters', () => {
  let site: Site;
  let records: Records;

  before(async () => {
    site = await openSite({ prefix: 'letters', partitions: 2, settings: QUICK });
    records = await openRecords(site);
    await site.pool.query('ALTER TABLE public.employees ALTER COLUMN salary TYPE numeric(8,2)');
  });

  after(async () => {
    await records?.close();
    await site?.drop();
  });

  const run = async (...args: string[]) =>
    deltaferry(['dead-letters', ...args, '--config', site.configFile], dirname(site.configFile));

  it('list says so where there are none', async () => {
    const { code, stdout } = await run('list');
    assert.deepEqual(
      { code, stdout },
      { code: 0, stdout: `${site.name}: no dead letters on ${site.topic}.dead-letters\n` },
    );
  });

  it('list shows what sinks and producers have set aside: time, code, places, key, message', async () => {
    const row = [BIG, 'Ann', '9999999999.99'] as const;
    const tooLarge = records.of(
      employeeChange(1, { key: String(BIG), after: row, ts: 1_735_689_600_123_456 }),
    );
    const service = await startService(site.config);
    try {
      // One after another, so that their order is known.
      for (const record of [
        { ...tooLarge, partition: 1 },
        { key: 'escape \u001B[31m', value: Buffer.from([255, 1, 2]), partition: 0 },
        { key: null, value: records.of(employeeChange(7)).value, partition: 0 },
      ]) {
        await records.produce([record]);
        await until('the backlog to be gone', async () => (await records.backlog()) === 0n);
      }
      await site.warehouse.query({
        doing: 'a test',
        sql: `INSERT INTO ${site.deltaTable} VALUES (5, 'Eve', 1.00), (5, 'Eve again', 2.00)`,
      });
      await until(
        'the feed to reject it',
        async () => Number(await service.metric('deltaferry_changes_rejected_total')) > 0,
      );
    } finally {
      await service.stop();
    }

    const { code, stdout, stderr } = await run('list');
    assert.equal(code, 0, stderr);
    const [title, heading, ...lines] = stdout.trimEnd().split('\n');
    assert.equal(
      title,
      `${site.name}: ${lines.length} dead letters on ${site.topic}.dead-letters, newest first`,
    );
    assert.match(heading!, /^TIME +CODE +LETTER +RECORD +KEY +MESSAGE$/);
    const shown = lines.map((line) => line.split(/ {2,}/));
    const today = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
    assert.ok(shown.every(([time]) => today.test(time!)));
    assert.deepEqual(
      shown.slice(-3).map((cells) => cells.slice(1, 5)),
      [
        ['KEY_MISSING', '0:2', '0:1', '(none)'],
        ['NOT_CONFLUENT', '0:1', '0:0', 'escape \\u{1b}[31m'],
        ['POSTGRES_22003', '0:0', '1:0', String(BIG)],
      ],
    );
    assert.ok(!stdout.includes('\u001B'), 'what others wrote must not steer the terminal');
    for (const cells of shown.slice(0, -3)) {
      assert.equal(cells[1], 'DUPLICATE_KEY');
      assert.equal(cells[3], 'delta-feed 1');
      assert.equal(cells[4], '5');
    }
    assert.ok(shown.length > 3);
  });

  it('list --limit shows the newest and says that there may be more; --json has all fields', async () => {
    const { stdout } = await run('list', site.name, '--limit', '1');
    assert.match(stdout, /: the newest 1 dead letter on .*; there may be more: --limit\n/);
    assert.equal(stdout.trimEnd().split('\n').length, 3);
    const json = JSON.parse((await run('list', '--json')).stdout) as LettersOfTable[];
    assert.equal(json.length, 1);
    const { table, complete, letters } = json[0]!;
    assert.deepEqual({ table, complete }, { table: site.name, complete: true });
    const { time, message, ...rest } = letters.at(-1)!;
    assert.deepEqual(rest, {
      code: 'POSTGRES_22003',
      letter: { partition: 0, offset: '0' },
      record: { topic: site.topic, partition: 1, offset: '0' },
      source: null,
      key: String(BIG),
    });
    assert.ok(time.endsWith('Z') && message.includes('numeric field overflow'));
  });

  it('show prints headers, key and the change, values exact, by either place', async () => {
    const { code, stdout } = await run('show', '0:0');
    assert.equal(code, 0);
    assert.equal((await run('show', '--original', '1:0')).stdout, stdout);
    assert.match(stdout, new RegExp(`^${site.topic}\\.dead-letters 0:0\n`));
    assert.match(stdout, /^ {2}error\.code +POSTGRES_22003$/m);
    assert.match(stdout, /^ {2}first\.seen +\d{16}$/m);
    assert.match(stdout, /^key: 9007199254740993$/m);
    assert.match(stdout, /^value, a change written with schema \d+:$/m);
    const { decodedValue } = JSON.parse((await run('show', '0:0', '--json')).stdout) as Letter;
    assert.deepEqual(decodedValue.form === 'change' && decodedValue.change, {
      op: 'insert',
      key: String(BIG),
      before: null,
      after: { emp_id: String(BIG), name: 'Ann', salary: '9999999999.99' },
      origin: 'delta',
      table: 'employees',
      position: '1',
      ts: '2025-01-01 00:00:00.123456Z',
      tx: null,
      load: null,
    });
  });

  it('show prints bytes that are nothing we know as hex, and why; a change under a wrong key all the same', async () => {
    const bytes = (await run('show', '0:1')).stdout;
    assert.match(bytes, /^value, 3 bytes that are no change and no JSON \(.*header.*\):\n {2}ff0102$/m);
    const keyless = (await run('show', '0:2')).stdout;
    assert.match(keyless, /^key: none$/m);
    assert.match(keyless, /"emp_id": "7"/);
  });

  it('show prints what a producer rejected as the JSON it is', async () => {
    const { letters } = (JSON.parse((await run('list', '--json')).stdout) as LettersOfTable[])[0]!;
    const { partition, offset } = letters[0]!.letter;
    const { decodedValue, source } = JSON.parse(
      (await run('show', `${partition}:${offset}`, '--json')).stdout,
    ) as Letter;
    assert.deepEqual(source, { producer: 'delta-feed', position: '1' });
    assert.match(decodedValue.form === 'json' ? decodedValue.text : '', /Eve/);
  });

  it('show of a place without a letter: exit 1, with what to do', async () => {
    for (const place of [['0:999'], ['7:0'], ['--original', '0:999']]) {
      const { code, stdout, stderr } = await run('show', ...place);
      assert.deepEqual({ code, stdout }, { code: 1, stdout: '' });
      assert.match(stderr, /no dead letter .*\n→ See `deltaferry dead-letters list /);
    }
  });
});
