import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import {
  migrate,
  pendingMigrations,
  shippedMigrations,
  type Migration,
} from '../../../src/connections/postgres/migrate.ts';
import { openPool } from '../../../src/connections/postgres/pool.ts';
import { OperatorError } from '../../../src/errors.ts';
import { createDatabase, urlWith, type TestDatabase } from './database.ts';

let database: TestDatabase;
before(async () => {
  database = await createDatabase();
});
after(async () => await database.drop());
beforeEach(async () => {
  await database.pool.query('DROP SCHEMA IF EXISTS deltaferry CASCADE');
});

const shipped = shippedMigrations();
const names = shipped.map(({ name }) => name);
const extra: Migration = { name: '9000_extra', sql: 'CREATE TABLE deltaferry.extra (n int)' };

test('all are applied in order, once', async () => {
  assert.deepEqual(await pendingMigrations(database.pool), names);
  assert.deepEqual(await migrate(database.pool), names);
  assert.deepEqual(await pendingMigrations(database.pool), []);
  assert.deepEqual(await migrate(database.pool), []);
});

test('migrators that meet take turns: each migration runs once', async () => {
  const applied = await Promise.all(
    [1, 2, 3, 4].map(async () => await migrate(database.pool, [...shipped, extra])),
  );
  assert.deepEqual(applied.flat().sort(), [...names, extra.name]);
});

test('a newer version adds only what is new', async () => {
  await migrate(database.pool);
  assert.deepEqual(await pendingMigrations(database.pool, [...shipped, extra]), [extra.name]);
  assert.deepEqual(await migrate(database.pool, [...shipped, extra]), [extra.name]);
});

test('one that fails leaves nothing of itself, and those before it stay', async () => {
  const broken = { name: '9001_broken', sql: 'CREATE TABLE deltaferry.half (n int); SELECT * FROM nowhere' };
  await assert.rejects(migrate(database.pool, [...shipped, broken]), OperatorError);
  assert.deepEqual(await pendingMigrations(database.pool, [...shipped, broken]), [broken.name]);
  const half = await database.pool.query(`SELECT to_regclass('deltaferry.half') AS half`);
  assert.deepEqual(half.rows, [{ half: null }]);
});

test('a file changed after it was applied is refused by name; line ends do not count', async () => {
  await migrate(database.pool);
  const windows = shipped.map(({ name, sql }) => ({ name, sql: sql.replaceAll('\n', '\r\n') }));
  assert.deepEqual(await migrate(database.pool, windows), []);
  const changed = shipped.map(({ name, sql }) => ({ name, sql: `${sql}-- and more` }));
  for (const run of [migrate, pendingMigrations])
    await assert.rejects(
      run(database.pool, changed),
      (error) =>
        error instanceof OperatorError &&
        error.code === 'MIGRATION_CHANGED' &&
        error.message.includes(names[0] ?? '?'),
    );
});

test('an older version does not touch what a newer one migrated', async () => {
  await migrate(database.pool, [...shipped, extra]);
  await assert.rejects(
    migrate(database.pool),
    (error) =>
      error instanceof OperatorError &&
      error.code === 'MIGRATION_UNKNOWN' &&
      error.message.includes(extra.name),
  );
});

test('a role that may not create the schema is told so', async () => {
  const role = `guest_${process.pid}`;
  await database.pool.query(`CREATE ROLE ${role} LOGIN PASSWORD 'geheim'`);
  const guest = openPool({
    url: urlWith(database.url, { user: role, password: 'geheim' }),
    maxConnections: 1,
  });
  try {
    await assert.rejects(migrate(guest), OperatorError);
  } finally {
    await guest.end();
    await database.pool.query(`DROP ROLE ${role}`);
  }
});
