import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { mismatchesOf } from '../../src/setup/plan.ts';
import { setupLines } from '../../src/setup/report.ts';
import type { SetupRequest, SetupTable } from '../../src/setup/request.ts';
import { setup, type SetupResult } from '../../src/setup/setup.ts';
import { mapping } from './existing-things.ts';
import { openSite, type Site } from './site.ts';

const created = ({ plan }: SetupResult) => plan.filter(({ kind }) => kind === 'create').length;
const mismatches = ({ plan }: SetupResult) =>
  mismatchesOf(plan).map(({ what, detail }) => `${what}: ${detail}`);

function withTable(request: SetupRequest, changed: Partial<SetupTable>): SetupRequest {
  return { ...request, tables: request.tables.map((table) => ({ ...table, ...changed })) };
}

describe('setup on the engines', () => {
  let site: Site;
  before(async () => {
    site = await openSite();
  });
  after(() => site.drop());

  it('applies nothing while the Delta table is missing, and says how to create it', async () => {
    const result = await setup(site.request, site.ports);
    assert.equal(result.outcome, 'mismatch');
    assert.deepEqual(mismatches(result), [`Delta table ${site.name}.employees: does not exist`]);
    const lines = setupLines(result);
    assert.equal(
      lines.at(-1),
      '1 thing does not fit. Nothing was changed: mend what is named above and run setup again.',
    );
    assert.equal((await site.ports.topics.describe([`${site.name}_changes`])).size, 0);
    assert.deepEqual(
      await site.ports.control.pending(),
      result.plan[0]?.detail.replace('apply ', '').split(', '),
    );
    for (const sql of mismatchesOf(result.plan)[0]?.sql ?? []) await site.sql(sql);
  });

  it('changes nothing in a dry run, and names everything it would do', async () => {
    const result = await setup(site.request, site.ports, { dryRun: true });
    assert.equal(result.outcome, 'planned', setupLines(result).join('\n'));
    assert.deepEqual(
      setupLines(result)
        .filter((line) => line.startsWith('create'))
        .map((line) => line.slice(10).split(':')[0]),
      [
        'control schema deltaferry',
        `topic ${site.name}.positions`,
        `topic ${site.name}_changes`,
        `topic ${site.name}_changes.dead-letters`,
        `topic ${site.name}_backfill`,
        `compatibility of ${site.name}_changes-value`,
        `schema ${site.name}_changes-value`,
        'history table public.employees',
      ],
    );
    assert.equal(setupLines(result).at(-1), '8 to do. Nothing was changed: this was a dry run.');
    const again = await setup(site.request, site.ports, { dryRun: true });
    assert.deepEqual(again.plan, result.plan);
  });

  it('creates everything, and tells each step as it is done', async () => {
    const done: string[] = [];
    const result = await setup(site.request, site.ports, { onApplied: ({ what }) => void done.push(what) });
    assert.equal(result.outcome, 'done');
    assert.equal(done.length, 8);

    const topics = await site.ports.topics.describe([
      `${site.name}_changes`,
      `${site.name}_changes.dead-letters`,
      `${site.name}_backfill`,
      `${site.name}.positions`,
    ]);
    const facts = [...topics].map(([topic, { partitions, config }]) => [
      topic.slice(site.name.length),
      partitions,
      config['cleanup.policy'],
      config['retention.ms'],
      config['segment.bytes'],
      config['max.message.bytes'],
    ]);
    assert.deepEqual(facts.toSorted(), [
      ['.positions', 1, 'compact', '604800000', '1048576', '1048588'],
      ['_backfill', 2, 'compact', '604800000', '1073741824', '8000000'],
      ['_changes', 2, 'delete', '604800000', '1073741824', '8000000'],
      ['_changes.dead-letters', 1, 'delete', '2592000000', '1073741824', '8262144'],
    ]);
    assert.equal(await site.registry.compatibility(`${site.name}_changes-value`), 'FULL_TRANSITIVE');
    assert.equal((await site.registry.latest(`${site.name}_changes-value`))?.version, 1);
    await site.database.pool.query(`insert into employees values (1, 'a', 1, true, '2026-01-01', null)`);
    const second = `insert into employees values (1, 'b', 2, true, '2026-01-02', null)`;
    await assert.rejects(site.database.pool.query(second), /employees_emp_id_idx/);
  });

  it('does nothing the second time', async () => {
    const result = await setup(site.request, site.ports);
    assert.equal(result.outcome, 'done');
    assert.equal(created(result), 0);
    assert.equal(setupLines(result).at(-1), 'Everything was there already.');
  });

  it('registers the next version when the mapping grows, and names the column that the tables lack', async () => {
    const grown = withTable(site.request, {
      mapping: mapping({ emp_id: 'bigint', name: 'text', salary: 'numeric(12,2)', dept: 'text' }),
    });
    const result = await setup(grown, site.ports);
    assert.deepEqual(mismatches(result), [
      'history table public.employees: column dept (text) is missing',
      `Delta table ${site.name}.employees: column dept (STRING) is missing`,
    ]);
    for (const step of mismatchesOf(result.plan))
      for (const sql of step.sql ?? [])
        if (step.what.startsWith('Delta')) await site.sql(sql);
        else await site.database.pool.query(sql);
    const mended = await setup(grown, site.ports);
    assert.equal(mended.outcome, 'done', setupLines(mended).join('\n'));
    assert.equal((await site.registry.latest(`${site.name}_changes-value`))?.version, 2);
  });

  it('lists every mismatch at once and applies nothing', async () => {
    const { ports, request, name } = site;
    const other = withTable(request, {
      mapping: mapping({ emp_id: 'text', name: 'text', salary: 'numeric(12,4)' }),
      partitions: 5,
    });
    const extra: SetupTable = { mapping: mapping({ emp_id: 'bigint' }), topic: `${name}_extra` };
    const result = await setup({ ...other, tables: [...other.tables, extra] }, ports);
    assert.equal(result.outcome, 'mismatch');
    const found = mismatches(result);
    const expected = [
      /^topic .*_changes: has 2 partitions, 5 partitions wanted/,
      /^topic .*_backfill: has 2 partitions, 5 partitions wanted/,
      /^schema .*: version 2 .* the registry refuses it: .*field Row.emp_id was long and would be string; .*decimal\(12,2\)/,
      /^history table .*: column emp_id is bigint, text wanted$/,
      /^history table .*: column salary is numeric\(12,2\), numeric\(12,4\) wanted$/,
      /^Delta table .*: column emp_id is BIGINT, STRING wanted/,
      /^Delta table .*: column salary is DECIMAL\(12,2\), DECIMAL\(12,4\) wanted/,
    ];
    assert.equal(found.length, expected.length, found.join('\n'));
    for (const [at, pattern] of expected.entries()) assert.match(found[at] ?? '', pattern);
    assert.equal((await ports.topics.describe([`${name}_extra`])).size, 0);
    assert.equal(await site.registry.latest(`${name}_extra-value`), null);
  });

  it('refuses another scale, which the registry would take', async () => {
    const rescaled = withTable(site.request, {
      mapping: mapping({ emp_id: 'bigint', name: 'text', salary: 'numeric(14,4)' }),
    });
    const result = await setup(rescaled, site.ports);
    assert.match(
      mismatches(result)[0] ?? '',
      /field Row.salary was decimal\(12,2\) and would be decimal\(14,4\)/,
    );
    assert.doesNotMatch(mismatches(result)[0] ?? '', /refuses/);
  });

  it('says how to switch the change data feed on, and advises in-commit timestamps', async () => {
    await site.sql(
      `CREATE TABLE ${site.name}.quiet (emp_id BIGINT, name STRING, salary DECIMAL(12,2)) USING DELTA`,
    );
    const table = {
      deltaTable: `${site.name}.quiet`,
      historyTable: 'public.quiet',
      topic: `${site.name}_quiet`,
    };
    const request = withTable(site.request, table);
    const result = await setup(request, site.ports);
    const [mismatch] = mismatchesOf(result.plan);
    assert.match(mismatch?.detail ?? '', /change data feed is off/);
    for (const sql of mismatch?.sql ?? []) await site.sql(sql);
    const after = await setup(request, site.ports);
    assert.equal(after.outcome, 'done');
    const warning = after.plan.find(({ kind }) => kind === 'warning');
    assert.match(warning?.detail ?? '', /no in-commit timestamps/);
    for (const sql of warning?.sql ?? []) await site.sql(sql);
    const advised = await setup(request, site.ports);
    assert.equal(
      advised.plan.some(({ kind }) => kind === 'warning'),
      false,
    );
  });
});

describe('two setups at once', () => {
  let site: Site;
  before(async () => {
    site = await openSite();
    await site.createDeltaTable();
  });
  after(() => site.drop());

  it('end as one would: nothing fails, nothing is there twice', async () => {
    // Settled: none may still be at work when its connections are closed.
    const results = await Promise.allSettled([1, 2, 3].map(() => setup(site.request, site.ports)));
    assert.deepEqual(
      results.map((result) => (result.status === 'fulfilled' ? result.value.outcome : result.reason)),
      ['done', 'done', 'done'],
    );
    const again = await setup(site.request, site.ports);
    assert.equal(created(again), 0, setupLines(again).join('\n'));
    assert.equal((await site.registry.latest(`${site.name}_changes-value`))?.version, 1);
  });
});
