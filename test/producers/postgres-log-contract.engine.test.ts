import { after, before } from 'node:test';
import { openCaptureDatabase, type CaptureDatabase } from './captured-table.ts';
import { postgresLogContract } from './postgres-log-contract.ts';

let database: CaptureDatabase;
before(async () => {
  database = await openCaptureDatabase();
});
after(() => database?.drop());

for (const [kind, smallWindowRows] of [
  ['Postgres, windows in one answer', 500],
  ['Postgres, windows as a stream', 0],
] as const)
  postgresLogContract(kind, async () => {
    const captured = await database.table();
    const { table } = captured;
    return {
      source: (pageChanges) => captured.source({ pageChanges, smallWindowRows }),
      async begin() {
        const session = await captured.session();
        await session.query('BEGIN');
        await session.query('SELECT pg_current_xact_id()');
        return {
          async set(key, name) {
            if (name === null) await session.query(`DELETE FROM ${table} WHERE emp_id = $1`, [key]);
            else
              await session.query(
                `INSERT INTO ${table} VALUES ($1, $2, 10) ON CONFLICT (emp_id) DO UPDATE SET name = excluded.name`,
                [key, name],
              );
          },
          async commit() {
            await session.query('COMMIT');
            await session.end();
          },
          async rollback() {
            await session.query('ROLLBACK');
            await session.end();
          },
        };
      },
    };
  });
