import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import type { Value } from '../../src/change/change.ts';
import type { TableMapping } from '../../src/change/table.ts';
import { formatterFor, parseColumnType, parseExchange, postgresTypeOf } from '../../src/change/types.ts';
import { quoteIdent, quoteQualified } from '../../src/connections/identifiers.ts';
import { READER_SETTINGS, smallWindowSql, windowSql } from '../../src/connections/postgres/log-sql.ts';
import type { PostgresLog } from '../../src/ports/postgres-log.ts';
import { TYPE_CASES } from '../change/type-cases.ts';
import { openCaptureDatabase, type CaptureDatabase } from './captured-table.ts';

const COLUMNS = Object.values(TYPE_CASES).map(({ type }, index) => ({
  name: `c${index}`,
  type: parseColumnType(type),
}));
const MAPPING: TableMapping = {
  name: 'everything',
  key: ['id'],
  columns: [{ name: 'id', type: { name: 'integer' } }, ...COLUMNS],
};
const CASES = Object.values(TYPE_CASES).flatMap(({ accepted }, column) =>
  accepted.map(({ exchange }) => ({ column, exchange, type: COLUMNS[column]!.type })),
);

describe('reading the log', () => {
  let database: CaptureDatabase;
  before(async () => {
    database = await openCaptureDatabase();
  });
  after(() => database?.drop());

  // Were one of these to fail, a value would arrive in Delta as another than the one in Postgres.
  for (const [way, smallWindowRows] of [
    ['in one answer', 10_000],
    ['as a stream', 0],
  ] as const)
    it(`every end of every type comes out of the log as it went into the table, windows ${way}`, async () => {
      const setup = await database.table();
      const moods = TYPE_CASES.enum.accepted.map(({ exchange }) => pg.escapeLiteral(exchange));
      await setup.sql(
        `DO $$ BEGIN CREATE TYPE mood AS ENUM (${moods.join(', ')}); EXCEPTION WHEN duplicate_object THEN NULL; END $$`,
      );
      const table = await database.table({
        mapping: MAPPING,
        columns: [
          'id integer PRIMARY KEY',
          ...COLUMNS.map(({ name, type }) => `${quoteIdent(name)} ${postgresTypeOf(type, quoteQualified)}`),
        ].join(', '),
      });
      const source = table.source({ smallWindowRows });
      const from = await source.snapshot(null);
      for (const [id, { column, exchange, type }] of CASES.entries())
        await table.sql(`INSERT INTO ${table.table} (id, c${column}) VALUES ($1, $2)`, [
          id,
          formatterFor(type)(parseExchange(type, exchange)),
        ]);
      const stored = await table.sql<{ id: number; text: string }>(
        `SELECT id, c${COLUMNS.findIndex(({ type }) => type.name === 'jsonb')}::text AS text FROM ${table.table}`,
      );
      const rows = await read(source, from, await source.snapshot(from));
      assert.equal(rows.size, CASES.length);
      for (const [id, { column, exchange, type }] of CASES.entries()) {
        const found = rows.get(id)!;
        // jsonb has its own order and spacing: what Postgres prints is what counts.
        const text = type.name === 'jsonb' ? stored.find((row) => row.id === id)!.text : exchange;
        assert.deepEqual(
          found[column + 1],
          parseExchange(type, text),
          `${type.name} ${exchange.slice(0, 60)}`,
        );
        assert.equal(found.filter((value) => value !== null).length, 2, 'the other columns are null');
      }
    });

  it('an abort ends a large read at any moment, and the next one finds everything', async () => {
    const table = await database.table();
    const rows = 100_000;
    await table.sql(
      `INSERT INTO ${table.log} (op, key, after) SELECT 'I', n::text, json_object(ARRAY['emp_id', n::text]) FROM generate_series(1, $1::int) n`,
      [rows],
    );
    const source = table.source();
    const to = await source.snapshot(null);
    const pages = async (signal: AbortSignal, onPage: () => void): Promise<number> => {
      let count = 0;
      for await (const page of source.read({ from: '1:1:', to, after: 0n }, signal)) {
        count += page.changes.length;
        onPage();
      }
      return count;
    };
    const moments: readonly (readonly [string, (abort: () => void) => () => void])[] = [
      ['while it connects', (abort) => (queueMicrotask(abort), () => {})],
      ['while it sorts', (abort) => (setTimeout(abort, 30), () => {})],
      ['while it streams', (abort) => abort],
    ];
    for (const [moment, plan] of moments) {
      const aborted = new AbortController();
      const onPage = plan(() => aborted.abort(new Error(moment)));
      await assert.rejects(pages(aborted.signal, onPage), new RegExp(moment));
    }
    assert.equal(await pages(new AbortController().signal, () => {}), rows);
  });

  it('a small window in a long log costs its own rows only, also beside an old open transaction', async () => {
    const table = await database.table();
    const open = await table.session();
    await open.query('BEGIN');
    await open.query(`INSERT INTO ${table.table} VALUES (0, 'open', 1)`);
    const { rows: opened } = await open.query<{ xid: string }>('SELECT pg_current_xact_id()::text AS xid');
    await table.sql(
      `INSERT INTO ${table.log} (op, key, after) SELECT 'I', n::text, '{"emp_id":"1"}' FROM generate_series(1, 100000) n`,
    );
    const source = table.source();
    const from = await source.snapshot(null);
    await table.sql(`INSERT INTO ${table.table} SELECT n, 'new', n FROM generate_series(1, 5) n`);
    await open.query('COMMIT');
    const to = await source.snapshot(from);
    const running = from.split(':')[2]!.split(',');
    assert.ok(running.includes(opened[0]!.xid), 'the transaction was open: otherwise this shows nothing');

    const reader = new pg.Client({ connectionString: table.url, options: READER_SETTINGS });
    await reader.connect();
    try {
      for (const analyzed of [false, true]) {
        if (analyzed) await table.sql(`ANALYZE ${table.log}`);
        await reader.query(
          `SELECT set_config('deltaferry.window_from', $1, false), set_config('deltaferry.window_to', $2, false), set_config('deltaferry.window_after', '0', false)`,
          [from, to],
        );
        const streamed = /^COPY \(([^]*)\) TO STDOUT/.exec(windowSql(table.log))![1]!;
        const small = smallWindowSql(table.log, { rows: 500, bytes: 1_000_000 });
        for (const [name, sql, values] of [
          ['streamed', streamed, []],
          ['small', small, [from, to, '0']],
        ] as const) {
          const { rows } = await reader.query<{ 'QUERY PLAN': readonly [{ readonly Plan: PlanNode }] }>(
            `EXPLAIN (ANALYZE, FORMAT JSON) ${sql}`,
            [...values],
          );
          const touched = rowsTouched(rows[0]!['QUERY PLAN'][0].Plan);
          assert.equal(touched.rows, 6, `${name}: rows of the log`);
          assert.deepEqual(
            touched.kinds.filter((kind) => kind === 'Seq Scan'),
            [],
            name,
          );
        }
      }
    } finally {
      await reader.end();
    }
  });
});

async function read(source: PostgresLog, from: string, to: string): Promise<Map<number, readonly Value[]>> {
  const rows = new Map<number, readonly Value[]>();
  for await (const page of source.read({ from, to, after: 0n }, new AbortController().signal)) {
    assert.deepEqual(page.rejected, []);
    for (const { after: row } of page.changes) rows.set(Number(row![0]), row!);
  }
  return rows;
}

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly 'Rows Removed by Filter'?: number;
  readonly 'Rows Removed by Index Recheck'?: number;
  readonly Plans?: readonly PlanNode[];
}

/** How many rows of tables a plan looked at, and by what. */
function rowsTouched(node: PlanNode): { readonly rows: number; readonly kinds: readonly string[] } {
  const inner = (node.Plans ?? []).map(rowsTouched);
  const rows = inner.reduce((sum, each) => sum + each.rows, 0);
  const kinds = inner.flatMap((each) => each.kinds);
  if (node['Relation Name'] === undefined) return { rows, kinds };
  const removed = (node['Rows Removed by Filter'] ?? 0) + (node['Rows Removed by Index Recheck'] ?? 0);
  return {
    rows: rows + (node['Actual Rows'] + removed) * node['Actual Loops'],
    kinds: [...kinds, node['Node Type']],
  };
}
