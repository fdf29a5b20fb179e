import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Row } from '../../../src/change/change.ts';
import { migrate } from '../../../src/connections/postgres/migrate.ts';
import { openPool } from '../../../src/connections/postgres/pool.ts';
import { createDatabase, urlWith, type TestDatabase } from './database.ts';
import { change, createEmployees, openApplier, shown } from './employees.ts';
import { rejectsAs } from './rejects.ts';

let database: TestDatabase;
before(async () => {
  database = await createDatabase();
  await migrate(database.pool);
});
after(async () => await database.drop());

describe('a value that can never be stored is poison, alone', () => {
  const CASES: readonly { name: string; ddl: string; row: Row }[] = [
    { name: 'too long', ddl: 'ALTER COLUMN name TYPE varchar(3)', row: [1, 'ABCD', '1.00'] },
    {
      name: 'a number beyond the column',
      ddl: 'ALTER COLUMN salary TYPE numeric(4,2)',
      row: [1, 'A', '100.00'],
    },
    { name: 'refused by a check', ddl: 'ADD CHECK (salary > 1)', row: [1, 'A', '0.50'] },
    { name: 'null where none may be', ddl: 'ALTER COLUMN salary SET NOT NULL', row: [1, 'A', null] },
    { name: 'a NUL character', ddl: 'ADD spare text', row: [1, 'A\0B', '1.00'] },
    {
      name: 'a document nested too deeply',
      ddl: `ADD CHECK (name = 'Z' OR name::jsonb IS NOT NULL)`,
      row: [1, '['.repeat(50_000) + ']'.repeat(50_000), '1.00'],
    },
    { name: 'refers to nothing', ddl: 'ADD FOREIGN KEY (name) REFERENCES labels', row: [1, 'A', '1.00'] },
  ];
  before(async () => {
    await database.pool.query(`CREATE TABLE labels (name text PRIMARY KEY); INSERT INTO labels VALUES ('Z')`);
  });

  CASES.forEach(({ name, ddl, row }, index) => {
    test(name, async () => {
      const table = `poison_${index}`;
      await createEmployees(database.pool, table);
      await database.pool.query(`ALTER TABLE ${table} ${ddl}`);
      const applier = await openApplier(database.pool, table);
      await applier.apply(change(1, 9, 'Z'));
      await rejectsAs('poison', applier.apply(change(2, 12, 'Z'), { ...change(1, 12, 'Z'), after: row }));
      await rejectsAs('poison', applier.apply({ ...change(1, 5, 'Z'), after: row }));
      await rejectsAs('poison', applier.apply({ ...change(1, 9, 'Z'), after: row }));
      assert.equal(await shown(database.pool, table, 1), 'Z[9,)');
      await applier.apply(change(2, 12, 'Z'));
    });
  });

  test('a key that is none', async () => {
    await createEmployees(database.pool, 'misnamed');
    const applier = await openApplier(database.pool, 'misnamed');
    await rejectsAs('poison', applier.apply({ ...change(1, 5, 'A'), key: 'one' }));
  });

  test('an upsert without a row', async () => {
    const applier = await openApplier(database.pool, 'rowless');
    await rejectsAs('poison', applier.apply({ ...change(1, 5, 'A'), after: null }));
  });
});

describe('what only a person can mend stops the partition and says the remedy', () => {
  test('a revoked grant', async () => {
    await createEmployees(database.pool, 'revoked');
    const role = `clerk_${process.pid}`;
    await database.pool.query(`CREATE ROLE ${role} LOGIN PASSWORD 'geheim'`);
    const clerk = openPool({
      url: urlWith(database.url, { user: role, password: 'geheim' }),
      maxConnections: 1,
    });
    try {
      await database.pool.query(
        `GRANT USAGE ON SCHEMA deltaferry TO ${role}; GRANT ALL ON ALL TABLES IN SCHEMA deltaferry TO ${role}; GRANT ALL ON revoked TO ${role}`,
      );
      const applier = await openApplier(clerk, 'revoked');
      await applier.apply(change(1, 1, 'A'));
      await database.pool.query(`REVOKE UPDATE ON revoked FROM ${role}`);
      const error = await rejectsAs('operator', applier.apply(change(1, 5, 'B')));
      assert.match(`${error.message} ${error.remedy}`, new RegExp(`revoked.*${role}|${role}.*revoked`));
      assert.doesNotMatch(`${error.message} ${error.remedy} ${error.stack}`, /geheim/);
      await database.pool.query(`GRANT UPDATE ON revoked TO ${role}`);
      await applier.apply(change(1, 5, 'B'));
    } finally {
      await clerk.end();
      await database.pool.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
    }
  });

  test('a dropped table', async () => {
    await createEmployees(database.pool, 'dropped');
    const applier = await openApplier(database.pool, 'dropped');
    await applier.apply(change(1, 1, 'A'));
    await database.pool.query('DROP TABLE dropped');
    const error = await rejectsAs('operator', applier.apply(change(1, 5, 'B')));
    assert.match(`${error.message} ${error.remedy}`, /dropped.*deltaferry setup/);
  });

  test('a dropped column', async () => {
    await createEmployees(database.pool, 'narrowed');
    const applier = await openApplier(database.pool, 'narrowed');
    await applier.apply(change(1, 1, 'A'));
    await database.pool.query('ALTER TABLE narrowed DROP COLUMN salary');
    const error = await rejectsAs('operator', applier.apply(change(1, 5, 'B')));
    assert.match(error.remedy ?? '', /narrowed/);
  });
});

describe('a refusal that is no change’s fault stops the partition and names what refused', () => {
  const audited = (table: string, columns: string): string =>
    `CREATE TABLE ${table}_audit (${columns});
     CREATE FUNCTION ${table}_audit() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN INSERT INTO ${table}_audit (id, name) VALUES (NEW.emp_id, NULL); RETURN NULL; END $$;
     CREATE TRIGGER audit AFTER INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION ${table}_audit()`;
  const CASES: readonly { name: string; table: string; ddl: string; remedy: RegExp }[] = [
    {
      name: 'a NOT NULL of the table that an audit trigger writes',
      table: 'watched',
      ddl: audited('watched', 'id bigint, name text NOT NULL'),
      remedy: /public\.watched_audit/,
    },
    {
      name: 'a NOT NULL of its column that no change brings',
      table: 'signed',
      ddl: audited('signed', 'id bigint, name text, clerk text NOT NULL'),
      remedy: /public\.signed_audit/,
    },
    {
      name: 'a check of the table that an audit trigger writes',
      table: 'checked',
      ddl: audited('checked', 'id bigint CHECK (id > 10), name text'),
      remedy: /public\.checked_audit/,
    },
    {
      name: 'a unique key of the table that an audit trigger writes',
      table: 'numbered',
      ddl: `${audited('numbered', 'id bigint PRIMARY KEY, name text')}; INSERT INTO numbered_audit VALUES (1)`,
      remedy: /public\.numbered_audit/,
    },
    {
      name: 'a unique index that is not the history’s own',
      table: 'mailed',
      ddl: 'ALTER TABLE mailed ADD CONSTRAINT mailed_name_key UNIQUE (name)',
      remedy: /^Drop mailed_name_key of mailed, or give it the columns emp_id, on_date/,
    },
    {
      name: 'a unique index that refuses the second version of a key',
      table: 'single',
      ddl: 'ALTER TABLE single ADD CONSTRAINT single_name_key UNIQUE (emp_id, name)',
      remedy: /^Drop single_name_key/,
    },
  ];
  for (const { name, table, ddl, remedy } of CASES)
    test(name, async () => {
      await createEmployees(database.pool, table);
      const applier = await openApplier(database.pool, table);
      await applier.apply(change(1, 1, 'Z'), change(2, 1, 'Y'));
      await database.pool.query(ddl);
      const error = await rejectsAs('operator', applier.apply(change(1, 5, 'Z')));
      assert.match(error.remedy ?? '', remedy);
    });

  test('a row that no partition takes, in a history whose partitions’ own checks are poison', async () => {
    await database.pool.query(
      `CREATE TABLE parted (emp_id bigint NOT NULL, name text, salary numeric(12,2) CHECK (salary > 1),
         is_active boolean NOT NULL, on_date timestamptz NOT NULL, off_date timestamptz, PRIMARY KEY (emp_id, on_date)
       ) PARTITION BY RANGE (emp_id);
       CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100);
       CREATE UNIQUE INDEX ON parted (emp_id) WHERE off_date IS NULL;
       CREATE UNIQUE INDEX parted_name ON parted (emp_id, name)`,
    );
    const applier = await openApplier(database.pool, 'parted');
    await applier.apply(change(1, 1, 'Z'));
    await rejectsAs('poison', applier.apply({ ...change(1, 5, 'A'), after: [1, 'A', '0.50'] }));
    const second = await rejectsAs('operator', applier.apply(change(1, 5, 'Z')));
    assert.match(second.remedy ?? '', /^Drop parted_name of parted/);
    const error = await rejectsAs('operator', applier.apply(change(100, 5, 'A')));
    assert.match(error.remedy ?? '', /^Create the partition of parted /);
  });
});

test('a column that no change fills is for a person to mend, not a reason to dead-letter everything', async () => {
  await createEmployees(database.pool, 'demanding');
  await database.pool.query('ALTER TABLE demanding ADD checked_by text NOT NULL');
  const applier = await openApplier(database.pool, 'demanding');
  const error = await rejectsAs('operator', applier.apply(change(1, 5, 'B')));
  assert.match(error.remedy ?? '', /checked_by.*default/);
});
