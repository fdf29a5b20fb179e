/**
 * `npm run bench -- capture [section …]`: what capture in Postgres costs the writers, with triggers and without, in
 * turns, on a server of its own with the settings of the local stack. Sections: bulk, single.
 */
import { resolve } from 'node:path';
import pg from 'pg';
import type { TableMapping } from '../src/change/table.ts';
import { createCaptureSql, createLogSql, dropCaptureSql } from '../src/connections/postgres/capture-ddl.ts';
import { startStack, stopStack } from '../src/stack/stack.ts';
import { median, printFigures, seconds, type Figure } from './figures.ts';

const STACK_DIR = resolve('.deltaferry/bench-capture');
const BULK_ROWS = 1_000_000;
const ROUNDS = 5;
const SINGLES = 10_000;
/** Both kinds take turns of so many transactions, so that what else the machine does hits both. */
const TURN = 250;

const EMPLOYEES: TableMapping['columns'] = [
  { name: 'emp_id', type: { name: 'bigint' } },
  { name: 'name', type: { name: 'text' } },
  { name: 'salary', type: { name: 'numeric', precision: 12, scale: 2 } },
];

const sections: Record<string, (client: pg.Client) => Promise<Figure[]>> = { bulk, single };

const wanted = process.argv.slice(2).filter((arg) => !arg.startsWith('-'));
const { postgres } = await startStack({
  dir: STACK_DIR,
  ownerPid: process.pid,
  wipeWithOwner: true,
  parts: ['postgres'],
});
const client = new pg.Client({ connectionString: postgres.url });
try {
  await client.connect();
  await client.query('CREATE SCHEMA deltaferry');
  await printSettings();
  for (const [name, section] of Object.entries(sections))
    if (wanted.length === 0 || wanted.includes(name)) printFigures(name, await section(client));
} finally {
  await client.end();
  await stopStack({ dir: STACK_DIR, wipe: true });
}

/** An UPDATE of 200,000 rows of a million, all over the table and all in one place, each in a table just filled. */
async function bulk(client: pg.Client): Promise<Figure[]> {
  const conditions = {
    'every fifth row': 'emp_id % 5 = 0',
    'rows side by side': `emp_id <= ${BULK_ROWS / 5}`,
  };
  const figures: Figure[] = [];
  for (const [which, condition] of Object.entries(conditions)) {
    const runs = { without: [] as Run[], captured: [] as Run[] };
    for (let round = 0; round < ROUNDS; round += 1)
      for (const captured of [false, true]) {
        await createTable(client, 'bulk', BULK_ROWS, captured);
        await client.query('CHECKPOINT');
        const run = await measure(client, () =>
          client.query(`UPDATE bulk SET salary = salary + 1 WHERE ${condition}`),
        );
        runs[captured ? 'captured' : 'without'].push(run);
        await dropTable(client, 'bulk');
      }
    const took = (of: readonly Run[]) => median(of.map(({ ms }) => ms));
    const wal = (of: readonly Run[]) => `${median(of.map(({ megabytes }) => megabytes)).toFixed(0)} MB WAL`;
    figures.push({
      what: `UPDATE of 200,000 of 1,000,000 rows, ${which} (median of ${ROUNDS})`,
      figure: `${seconds(took(runs.captured))}, ${wal(runs.captured)}`,
      limit: `${seconds(took(runs.without))}, ${wal(runs.without)}`,
      ratio: `${(took(runs.captured) / took(runs.without)).toFixed(2)}×`,
      budget: '≤ 4×, aim 3×',
    });
  }
  return figures;
}

/** One connection, one row per transaction, committed to disk each time. */
async function single(client: pg.Client): Promise<Figure[]> {
  await createTable(client, 'bare', SINGLES, false);
  await createTable(client, 'logged', SINGLES, true);
  await client.query('CHECKPOINT');
  const turns = { bare: [] as number[], logged: [] as number[] };
  for (let from = 1; from <= SINGLES; from += TURN)
    for (const table of ['bare', 'logged'] as const) {
      const began = performance.now();
      for (let id = from; id < from + TURN; id += 1)
        await client.query({
          name: table,
          text: `UPDATE ${table} SET salary = salary + 1 WHERE emp_id = $1`,
          values: [((id * 7919) % SINGLES) + 1],
        });
      turns[table].push(performance.now() - began);
    }
  const micros = (of: readonly number[]) => `${((median(of) / TURN) * 1000).toFixed(0)} µs`;
  const total = (of: readonly number[]) => of.reduce((sum, ms) => sum + ms, 0);
  return [
    {
      what: `${SINGLES.toLocaleString('en')} transactions of one row, one connection (median turn of ${TURN})`,
      figure: `${micros(turns.logged)} each, ${seconds(total(turns.logged))} in all`,
      limit: `${micros(turns.bare)} each, ${seconds(total(turns.bare))} in all`,
      ratio: `${(median(turns.logged) / median(turns.bare)).toFixed(2)}×`,
      budget: '≤ 1.5×, aim 1.2×',
    },
  ];
}

interface Run {
  readonly ms: number;
  /** Write-ahead log written, by whomever. */
  readonly megabytes: number;
}

async function measure(client: pg.Client, work: () => Promise<unknown>): Promise<Run> {
  const lsn = async () =>
    (await client.query<{ lsn: string }>('SELECT pg_current_wal_insert_lsn()::text AS lsn')).rows[0]!.lsn;
  const before = await lsn();
  const began = performance.now();
  await work();
  const ms = performance.now() - began;
  const { rows } = await client.query<{ bytes: string }>('SELECT pg_wal_lsn_diff($1, $2)::text AS bytes', [
    await lsn(),
    before,
  ]);
  return { ms, megabytes: Number(rows[0]!.bytes) / 1e6 };
}

async function createTable(client: pg.Client, name: string, rows: number, captured: boolean): Promise<void> {
  await client.query(`CREATE TABLE ${name} (emp_id bigint PRIMARY KEY, name text, salary numeric(12,2))`);
  await client.query(
    `INSERT INTO ${name} SELECT i, 'Employee ' || i, 50000 + i % 1000 FROM generate_series(1, ${rows}) i`,
  );
  await client.query(`VACUUM (ANALYZE, FREEZE) ${name}`);
  if (!captured) return;
  const mapping = { name, key: ['emp_id'], columns: EMPLOYEES };
  const target = { table: `public.${name}`, mapping, history: null };
  for (const sql of [...createLogSql(name), ...createCaptureSql(target)]) await client.query(sql);
}

async function dropTable(client: pg.Client, name: string): Promise<void> {
  await client.query(`DROP TABLE ${name}`);
  for (const sql of dropCaptureSql(name)) await client.query(sql);
}

/** What the figures depend on. */
async function printSettings(): Promise<void> {
  const names = [
    'server_version',
    'fsync',
    'synchronous_commit',
    'wal_level',
    'full_page_writes',
    'shared_buffers',
    'work_mem',
    'max_wal_size',
  ];
  const { rows } = await client.query<{ setting: string }>(
    `SELECT name || ' ' || current_setting(name) AS setting FROM pg_settings WHERE name = ANY ($1) ORDER BY name`,
    [names],
  );
  console.log(rows.map(({ setting }) => setting).join(', '));
}
