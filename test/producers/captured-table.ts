import pg from 'pg';
import type { TableMapping } from '../../src/change/table.ts';
import { createCaptureSql, createLogSql, logTable } from '../../src/connections/postgres/capture-ddl.ts';
import { migrate } from '../../src/connections/postgres/migrate.ts';
import { createPostgresLog, type PostgresLogOptions } from '../../src/connections/postgres/log-source.ts';
import type { PostgresLog } from '../../src/ports/postgres-log.ts';
import { createDatabase } from '../connections/postgres/database.ts';
import { employees } from './employees.ts';

/** A table of its own in the test's database, captured as `deltaferry setup` does it. */
export interface CapturedTable {
  readonly name: string;
  /** `public.<name>` */
  readonly table: string;
  /** The log, quoted. */
  readonly log: string;
  readonly mapping: TableMapping;
  readonly url: string;
  sql<T extends pg.QueryResultRow = pg.QueryResultRow>(text: string, values?: unknown[]): Promise<T[]>;
  /** A connection of its own, for a transaction that stays open. */
  session(): Promise<pg.Client>;
  source(options?: Partial<PostgresLogOptions>): PostgresLog;
}

export interface CaptureDatabase {
  readonly url: string;
  table(options?: TableOptions): Promise<CapturedTable>;
  drop(): Promise<void>;
}

export interface TableOptions {
  /** Of CREATE TABLE; default those of `employees`. */
  readonly columns?: string;
  readonly mapping?: TableMapping;
}

const COLUMNS = 'emp_id bigint PRIMARY KEY, name text, salary numeric(12,2)';

/** A database of one test file's own, on the shared server unless another one is given. `drop` closes whatever was opened through it. */
export async function openCaptureDatabase(server?: string): Promise<CaptureDatabase> {
  const database = await createDatabase(server);
  await migrate(database.pool);
  const sessions: pg.Client[] = [];
  const sources: PostgresLog[] = [];
  let number = 0;

  async function table({
    columns = COLUMNS,
    mapping = employees,
  }: TableOptions = {}): Promise<CapturedTable> {
    const name = `captured_${++number}`;
    const named = { ...mapping, name };
    const target = { table: `public.${name}`, mapping: named, history: null };
    await database.pool.query(`CREATE TABLE public.${name} (${columns})`);
    for (const statement of [...createLogSql(name), ...createCaptureSql(target)])
      await database.pool.query(statement);
    return {
      name,
      table: target.table,
      log: logTable(name),
      mapping: named,
      url: database.url,
      sql: async (text, values) => (await database.pool.query(text, values)).rows,
      async session() {
        const client = new pg.Client({ connectionString: database.url });
        client.on('error', () => {});
        await client.connect();
        sessions.push(client);
        return client;
      },
      source(options = {}) {
        const source = createPostgresLog({
          url: database.url,
          table: target.table,
          mapping: named,
          origin: 'postgres',
          ...options,
        });
        sources.push(source);
        return source;
      },
    };
  }

  return {
    url: database.url,
    table,
    async drop() {
      await Promise.allSettled([
        ...sources.map((source) => source.close()),
        ...sessions.map((one) => one.end()),
      ]);
      await database.drop();
    },
  };
}
