import { after, before, describe } from 'node:test';
import { createHistorySink } from '../../src/connections/postgres/history-sink.ts';
import { migrate } from '../../src/connections/postgres/migrate.ts';
import { createDatabase, type TestDatabase } from '../connections/postgres/database.ts';
import { EMPLOYEES } from './fakes.ts';
import { historySinkContract } from './history-sink-contract.ts';

describe('the history in Postgres keeps the contract', () => {
  let database: TestDatabase;
  let number = 0;
  before(async () => {
    database = await createDatabase();
    await migrate(database.pool);
  });
  after(() => database.drop());

  historySinkContract(async () => {
    const { pool } = database;
    const table = `contract_${++number}`;
    await pool.query(
      `CREATE TABLE ${table} (emp_id bigint NOT NULL, name text, is_active boolean NOT NULL,
         on_date timestamptz NOT NULL, off_date timestamptz, PRIMARY KEY (emp_id, on_date))`,
    );
    await pool.query(`CREATE UNIQUE INDEX ON ${table} (emp_id) WHERE off_date IS NULL`);
    return {
      sink: createHistorySink({
        pool,
        group: 'contract',
        topic: table,
        table: EMPLOYEES,
        historyTable: table,
        origin: 'delta',
      }),
      stored: async () => (await pool.query(`SELECT FROM ${table}`)).rowCount ?? 0,
      // Postgres keeps no NUL in a text.
      unstorable: 'a\0b',
    };
  });
});
