import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import type pg from 'pg';
import type { Change } from '../../src/change/change.ts';
import { createHistorySink } from '../../src/connections/postgres/history-sink.ts';
import { createHistoryTables } from '../../src/connections/postgres/history-table.ts';
import { createLeadership } from '../../src/connections/postgres/leadership.ts';
import { createLoadStart } from '../../src/connections/postgres/load-start.ts';
import { migrate, pendingMigrations } from '../../src/connections/postgres/migrate.ts';
import { openPool } from '../../src/connections/postgres/pool.ts';
import { createRememberedDeletes } from '../../src/connections/postgres/remembered-deletes.ts';
import { OperatorError } from '../../src/errors.ts';
import { setup } from '../../src/setup/setup.ts';
import { text } from '../docs/tree.ts';
import { employees } from './existing-things.ts';
import { fakePorts } from './fake-ports.ts';
import { ownDatabase, type OwnDatabase } from './own-database.ts';

const TOPIC = 'employees_changes';
const GROUP = 'deltaferry.postgres';

/** The grants of docs/OPERATIONS.md are enough for setup and for the sink, and none of them is idle. */
describe('with only the grants of docs/OPERATIONS.md', () => {
  const suffix = randomBytes(4).toString('hex');
  const roles = { setup: `deltaferry_setup_${suffix}`, run: `deltaferry_${suffix}` };
  let database: OwnDatabase;
  let setupPool: pg.Pool;
  let runPool: pg.Pool;

  /** The statements of the n-th SQL block, for this test's roles and database. */
  function documented(block: number): readonly string[] {
    const blocks = [...text('docs/OPERATIONS.md').matchAll(/^```sql\n(.*?)^```$/gms)].map(
      (match) => match[1] ?? '',
    );
    return (blocks[block] ?? '')
      .replaceAll(/\bdeltaferry_setup\b/g, roles.setup)
      .replaceAll(/\b(TO|ROLE) deltaferry\b/g, `$1 ${roles.run}`)
      .replaceAll(/\bDATABASE app\b/g, `DATABASE ${database.name}`)
      .split(';')
      .map((statement) => statement.trim())
      .filter((statement) => statement !== '');
  }

  function poolOf(role: string, password: string): pg.Pool {
    return openPool({ url: urlOf(role, password) });
  }

  function urlOf(role: string, password: string): string {
    const url = new URL(database.url);
    url.username = role;
    url.password = password;
    return url.href;
  }

  before(async () => {
    database = await ownDatabase('setup_grants');
    for (const statement of documented(0)) await database.pool.query(statement);
    for (const role of Object.values(roles))
      await database.pool.query(`alter role ${role} password '${suffix}'`);
    // In step with what a careful administrator does: by default everybody may create temporary tables.
    await database.pool.query(`revoke all on database ${database.name} from public`);
    await database.pool.query(`grant connect on database ${database.name} to ${roles.setup}, ${roles.run}`);
    await database.pool.query('revoke all on schema public from public');
    setupPool = poolOf(roles.setup, suffix);
    runPool = poolOf(roles.run, suffix);
  });
  after(async () => {
    await Promise.all([setupPool.end(), runPool.end()]);
    for (const role of Object.values(roles)) await database.pool.query(`drop owned by ${role} cascade`);
    for (const role of Object.values(roles)) await database.pool.query(`drop role ${role}`);
    await database.drop();
  });

  it('setup creates the control schema and the history table', async () => {
    const ports = fakePorts({
      control: { pending: () => pendingMigrations(setupPool), migrate: () => migrate(setupPool) },
      histories: createHistoryTables(setupPool),
    });
    const request = { tables: [{ mapping: employees, topic: TOPIC, historyTable: 'public.employees' }] };
    const result = await setup(request, ports);
    assert.equal(result.outcome, 'done');
    for (const statement of documented(1)) await setupPool.query(statement);
  });

  let offset = 0n;
  /** One batch that takes every path of the sink: ends a version, comes late, deletes what is not there. */
  async function applySomething(): Promise<void> {
    const sink = createHistorySink({
      pool: runPool,
      group: GROUP,
      topic: TOPIC,
      table: employees,
      historyTable: 'public.employees',
      origin: 'postgres',
    });
    const ts = 1_700_000_000_000_000 + Number(offset) * 1_000_000;
    await sink.claim([0], () => 0n);
    const batch = [
      [upsert('1', ts), upsert('2', ts), remove('3', ts)],
      // Earlier than what is stored: the exact path, which reads, removes, ends and writes versions and deletes.
      [upsert('1', ts - 500), remove('2', ts - 400), upsert('3', ts - 300), upsert('2', ts + 1)],
      [upsert('1', ts + 10), remove('2', ts + 10), remove('4', ts), upsert('4', ts - 100), upsert('4', ts)],
      // At the very time of what is stored: that version goes.
      [remove('1', ts + 10)],
    ];
    for (const changes of batch) {
      await sink.apply({ partition: 0, expected: offset, next: offset + 1n, changes });
      offset += 1n;
    }
    await sink.close();
  }

  it('the sink claims, applies and comes late', async () => {
    await applySomething();
    const counted = await runPool.query<{ versions: string; deletes: string }>(
      'select (select count(*) from employees) as versions, (select count(*) from deltaferry.orphan_deletes) as deletes',
    );
    assert.ok(Number(counted.rows[0]?.versions) >= 6, JSON.stringify(counted.rows));
    assert.ok(Number(counted.rows[0]?.deletes) >= 1, JSON.stringify(counted.rows));
    assert.deepEqual(await pendingMigrations(runPool), []);
  });

  it('a producer takes and gives back its lease', async () => {
    const leadership = createLeadership({ url: urlOf(roles.run, suffix) });
    const lease = await leadership.acquire('delta-feed/employees', AbortSignal.timeout(10_000));
    await lease.release();
  });

  it('the service can neither create, nor alter, nor empty anything', async () => {
    const denied = [
      'create table public.mine (a int)',
      'create temporary table mine (a int)',
      'alter table public.employees add column a int',
      'truncate public.employees',
      'drop table public.employees',
      'update deltaferry.migrations set name = name',
      'delete from deltaferry.offsets',
      'create table deltaferry.mine (a int)',
    ];
    for (const statement of denied)
      await assert.rejects(runPool.query(statement), /permission denied|must be owner/, statement);
  });

  it('every one of the grants is needed, and its lack is the operator’s to mend', async () => {
    const ofRun = [...documented(0), ...documented(1)].filter((statement) =>
      statement.endsWith(` TO ${roles.run}`),
    );
    assert.equal(ofRun.length, 7);
    for (const statement of ofRun) {
      const [, rights = '', object = ''] = /^GRANT (.+) ON (.+) TO /s.exec(statement) ?? [];
      for (const right of rights.split(', ')) {
        await database.pool.query(`revoke ${right} on ${object} from ${roles.run}`);
        const failing = async () => {
          await applySomething();
          await pendingMigrations(runPool);
          await createRememberedDeletes({ pool: runPool, historyTable: 'public.employees' }).forget(0);
          await createLoadStart(runPool, 'employees')('table-1');
        };
        const isDenied = (error: unknown) =>
          error instanceof OperatorError && error.code === 'POSTGRES_42501';
        await assert.rejects(failing, isDenied, `works without ${right} on ${object}`);
        await database.pool.query(`grant ${right} on ${object} to ${roles.run}`);
        await applySomething();
      }
    }
  });
});

const row = (key: string, ts: number) => [Number(key), `name ${ts}`, '1.00'] as const;
const common = { origin: 'delta', table: 'employees', position: 1, tx: null, load: null } as const;

function upsert(key: string, ts: number): Change {
  return { ...common, op: 'update', key, before: null, after: row(key, ts), ts };
}

function remove(key: string, ts: number): Change {
  return { ...common, op: 'delete', key, before: row(key, ts), after: null, ts };
}
