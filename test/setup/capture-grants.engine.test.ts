import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import type pg from 'pg';
import { createCapturedTables } from '../../src/connections/postgres/captured-table.ts';
import { createHistoryTables } from '../../src/connections/postgres/history-table.ts';
import { migrate, pendingMigrations } from '../../src/connections/postgres/migrate.ts';
import { openPool } from '../../src/connections/postgres/pool.ts';
import { mismatchesOf } from '../../src/setup/plan.ts';
import { setupLines } from '../../src/setup/report.ts';
import type { SetupRequest } from '../../src/setup/request.ts';
import { setup, type SetupResult } from '../../src/setup/setup.ts';
import { text } from '../docs/tree.ts';
import { employees } from './existing-things.ts';
import { fakePorts } from './fake-ports.ts';
import { ownDatabase, type OwnDatabase } from './own-database.ts';

const HISTORY = { onDate: 'on_date', offDate: 'off_date', isActive: 'is_active' };
const request: SetupRequest = {
  tables: [
    {
      mapping: employees,
      topic: 'employees_changes',
      historyTable: 'public.employees',
      captured: { table: 'public.employees', history: HISTORY },
    },
  ],
};

/** The table is its owner's, the application may write to it, and the service has what the document grants. */
describe('capture with only the grants of docs/OPERATIONS.md', () => {
  const suffix = randomBytes(4).toString('hex');
  const roles = { service: `deltaferry_${suffix}`, owner: `owner_${suffix}`, app: `app_${suffix}` };
  let database: OwnDatabase;
  let service: pg.Pool;
  let owner: pg.Pool;
  let app: pg.Pool;

  function documented(): readonly string[] {
    const block = [...text('docs/OPERATIONS.md').matchAll(/^```sql\n(.*?)^```$/gms)]
      .map((match) => match[1] ?? '')
      .find((sql) => sql.includes('TRIGGER ON'));
    return (block ?? '')
      .replaceAll(/\b(TO|ROLE) deltaferry\b/g, `$1 ${roles.service}`)
      .replaceAll(/\bDATABASE app\b/g, `DATABASE ${database.name}`)
      .split(';')
      .map((statement) => statement.trim())
      .filter((statement) => statement !== '');
  }

  function poolOf(role: string): pg.Pool {
    const url = new URL(database.url);
    url.username = role;
    url.password = suffix;
    return openPool({ url: url.href });
  }

  function install(wanted: SetupRequest = request): Promise<SetupResult> {
    return setup(
      wanted,
      fakePorts({
        control: { pending: () => pendingMigrations(service), migrate: () => migrate(service) },
        histories: createHistoryTables(service),
        captures: createCapturedTables(service),
      }),
    );
  }

  before(async () => {
    database = await ownDatabase('capture_grants');
    const admin = database.pool;
    await admin.query(`create role ${roles.owner} login; create role ${roles.app} login`);
    await admin.query(`revoke all on database ${database.name} from public`);
    await admin.query('revoke all on schema public from public');
    await admin.query(`grant usage, create on schema public to ${roles.owner}`);
    await admin.query(`grant usage on schema public to ${roles.app}`);
    await admin.query(
      `create table employees (emp_id bigint, name text, salary numeric(12,2), is_active boolean not null,
         on_date timestamptz, off_date timestamptz, primary key (emp_id, on_date));
       create unique index on employees (emp_id) where off_date is null;
       alter table employees owner to ${roles.owner};
       grant select, insert, update, delete, truncate on employees to ${roles.app}`,
    );
    const statements = documented();
    assert.equal(statements.length, 4);
    for (const statement of statements) await admin.query(statement);
    for (const role of Object.values(roles)) {
      await admin.query(`alter role ${role} password '${suffix}'`);
      await admin.query(`grant connect on database ${database.name} to ${role}`);
    }
    service = poolOf(roles.service);
    owner = poolOf(roles.owner);
    app = poolOf(roles.app);
  });
  after(async () => {
    await Promise.all([service.end(), owner.end(), app.end()]);
    for (const role of Object.values(roles)) await database.pool.query(`drop owned by ${role} cascade`);
    for (const role of Object.values(roles)) await database.pool.query(`drop role ${role}`);
    await database.drop();
  });

  const loggedOps = async () => {
    const { rows } = await service.query<{ ops: string }>(
      `select coalesce(string_agg(op::text, '' order by change_id), '') as ops from deltaferry.employees_changes`,
    );
    return rows[0]?.ops;
  };

  it('setup refuses without the right to put triggers there, and names the statement', async () => {
    for (const [right, detail] of [
      ['TRIGGER', /lacks the TRIGGER privilege/],
      ['SELECT', /lacks the SELECT privilege/],
    ] as const) {
      await database.pool.query(`revoke ${right} on employees from ${roles.service}`);
      const result = await install();
      const [mismatch] = mismatchesOf(result.plan);
      assert.match(mismatch?.detail ?? '', detail, setupLines(result).join('\n'));
      for (const statement of mismatch?.sql ?? []) await owner.query(statement);
    }
  });

  it('setup captures, and a second one has nothing to do', async () => {
    const result = await install();
    assert.equal(result.outcome, 'done', setupLines(result).join('\n'));
    const again = await install();
    assert.equal(
      again.plan.some(({ kind, what }) => kind === 'create' && what.startsWith('capture')),
      false,
      setupLines(again).join('\n'),
    );
  });

  it('what application and owner write is logged, and neither sees or needs the log', async () => {
    await app.query(`insert into employees values (1, 'a', 1, true, now(), null)`);
    await app.query(`update employees set salary = 2`);
    await owner.query(`update employees set salary = 3`);
    await app.query('delete from employees');
    await app.query(`insert into employees values (2, 'b', 1, true, now(), null)`);
    await app.query('truncate employees');
    assert.equal(await loggedOps(), 'IUUDID');
    const denied = [
      'select from deltaferry.employees_changes',
      'delete from deltaferry.employees_changes',
      `insert into deltaferry.employees_changes (op, key) values ('I', '1')`,
      'select deltaferry.log_to_kafka_employees()',
      'create table mine (a int); create trigger t after insert on mine execute function deltaferry.log_to_kafka_employees()',
    ];
    for (const pool of [app, owner])
      for (const statement of denied)
        await assert.rejects(pool.query(statement), /permission denied/, statement);
    const rights = await service.query<{ can: boolean }>(
      `select has_function_privilege('${roles.app}', 'deltaferry.log_to_kafka_employees()', 'execute') as can`,
    );
    assert.deepEqual(rights.rows, [{ can: false }]);
  });

  it('with row level security the writers’ policies hide nothing from the log, but for TRUNCATE', async () => {
    await owner.query('alter table employees enable row level security');
    await owner.query('create policy own on employees using (true)');
    const refused = await install();
    const [mismatch] = mismatchesOf(refused.plan);
    assert.match(mismatch?.detail ?? '', /row level security hides rows of public.employees/);
    await database.pool.query(mismatch?.sql?.[0] ?? '');
    assert.equal(mismatchesOf((await install()).plan).length, 0);
    await service.query('delete from deltaferry.employees_changes');
    await owner.query('drop policy own on employees');
    await owner.query(`create policy even on employees using (emp_id % 2 = 0) with check (true)`);
    await app.query(
      `insert into employees values (1, 'a', 1, true, now(), null), (2, 'b', 1, true, now(), null)`,
    );
    await app.query(`update employees set salary = 2`);
    await app.query('truncate employees');
    assert.equal(await loggedOps(), 'IIUDD');
    await owner.query('alter table employees disable row level security');
  });

  it('uninstall needs no more, and leaves the table as it was', async () => {
    const gone = await createCapturedTables(service).uninstall('employees', null);
    assert.deepEqual(gone, { rows: 5, unpublished: 5, function: true });
    await app.query(`insert into employees values (3, 'c', 1, true, now(), null)`);
    const left = await database.pool.query(
      `select tgname::text as name from pg_trigger where tgrelid = 'employees'::regclass and not tgisinternal
       union all select relname::text from pg_class where relname like 'employees\\_changes%'
       union all select proname::text from pg_proc where proname like 'log\\_to\\_kafka%'`,
    );
    assert.deepEqual(left.rows, []);
  });
});
