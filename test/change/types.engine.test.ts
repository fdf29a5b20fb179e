import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import pg from 'pg';
import { changeSchema, createChangeDecoder, createChangeEncoder } from '../../src/change/avro.ts';
import type { Value } from '../../src/change/change.ts';
import type { ColumnType, TableMapping } from '../../src/change/table.ts';
import {
  deltaTypeOf,
  formatterFor,
  parseColumnType,
  parseExchange,
  postgresTypeOf,
} from '../../src/change/types.ts';
import { openDatabricks, type Databricks } from '../../src/connections/databricks/client.ts';
import { createDeltaSource } from '../../src/connections/databricks/delta-source.ts';
import { quoteIdent } from '../../src/connections/identifiers.ts';
import { testStack } from '../support/stack.ts';
import { changeOf } from './fixtures.ts';
import { TYPE_CASES } from './type-cases.ts';

const MOODS = TYPE_CASES.enum.accepted.map(({ exchange }) => exchange);
const NAME = `types_${randomBytes(4).toString('hex')}`;

interface Case {
  readonly id: number;
  /** Index of its column in the mapping. */
  readonly column: number;
  readonly type: ColumnType;
  readonly exchange: string;
}

/** One column per type after the key, and one row per accepted value. */
const MAPPING: TableMapping = {
  name: 'everything',
  key: ['id'],
  columns: [
    { name: 'id', type: { name: 'integer' } },
    ...Object.values(TYPE_CASES).map(({ type }, index) => ({
      name: `c${index}`,
      type: parseColumnType(type),
    })),
  ],
};

const CASES: readonly Case[] = Object.values(TYPE_CASES)
  .flatMap(({ type, accepted }, index) =>
    accepted.map(({ exchange }) => ({ column: index + 1, type: parseColumnType(type), exchange })),
  )
  .map((found, id) => ({ id, ...found }));

const endpoints = testStack();
let databricks: Databricks;
let postgres: pg.Client;

before(async () => {
  databricks = openDatabricks(endpoints.databricks);
  postgres = new pg.Client({ connectionString: endpoints.postgres.url });
  await postgres.connect();
  await postgres.query(`create schema ${NAME}`);
  await postgres.query(`set search_path = ${NAME}`);
});

after(async () => {
  await run(`DROP SCHEMA IF EXISTS ${NAME} CASCADE`);
  await databricks.close();
  await postgres.query(`drop schema ${NAME} cascade`);
  await postgres.end();
});

// Were one of these to fail, a value would arrive in Postgres as another than the one in Delta.
test('every end of every type goes from Delta over the wire to Postgres unchanged', async () => {
  await createTables();
  await insertIntoDelta();
  const rows = await readFromDelta();
  assert.equal(rows.size, CASES.length);
  for (const found of CASES) {
    const row = rows.get(found.id);
    assert.ok(row !== undefined, `${labelOf(found)}: in the change data feed`);
    assert.deepEqual(
      row[found.column],
      parseExchange(found.type, found.exchange),
      `${labelOf(found)}: from Delta`,
    );
    assert.equal(row.filter((value) => value !== null).length, 2, 'the other columns are null');
    await intoPostgres(found, overTheWire(row)[found.column] as Exclude<Value, null>);
  }
});

async function createTables(): Promise<void> {
  const delta = MAPPING.columns.map(({ name, type }) => `${name} ${deltaTypeOf(type)}`);
  await run(`CREATE SCHEMA ${NAME}`);
  await run(
    `CREATE TABLE ${NAME}.everything (${delta.join(', ')}) USING DELTA TBLPROPERTIES (delta.enableChangeDataFeed = true)`,
  );
  await postgres.query(
    `create type mood as enum (${MOODS.map((mood) => pg.escapeLiteral(mood)).join(', ')})`,
  );
  const columns = MAPPING.columns.map(({ name, type }) => `${name} ${postgresTypeOf(type, quoteIdent)}`);
  await postgres.query(`create table everything (${columns.join(', ')})`);
}

async function insertIntoDelta(): Promise<void> {
  const rows = CASES.map(({ id, column, type }) => {
    const cells = MAPPING.columns.map((_, at) => (at === column ? deltaValue(type, `:v${id}`) : 'NULL'));
    return `(${[id, ...cells.slice(1)].join(', ')})`;
  });
  const params = Object.fromEntries(CASES.map(({ id, exchange }) => [`v${id}`, exchange]));
  await run(`INSERT INTO ${NAME}.everything VALUES ${rows.join(', ')}`, params);
}

/** The exchange text in a parameter as a value of Delta's type. */
function deltaValue(type: ColumnType, parameter: string): string {
  const micros = `timestamp_micros(CAST(${parameter} AS BIGINT))`;
  if (type.name === 'date') return `date_from_unix_date(CAST(${parameter} AS INT))`;
  if (type.name === 'timestamptz') return micros;
  if (type.name === 'timestamp') return `CAST(${micros} AS TIMESTAMP_NTZ)`;
  if (type.name === 'bytea') return `unhex(${parameter})`;
  return `CAST(${parameter} AS ${deltaTypeOf(type)})`;
}

async function readFromDelta(): Promise<ReadonlyMap<number, readonly Value[]>> {
  const source = createDeltaSource({ client: databricks, table: `${NAME}.everything`, mapping: MAPPING });
  const rows = new Map<number, readonly Value[]>();
  for await (const page of source.changes(1, 1, new AbortController().signal)) {
    for (const { row } of page) rows.set(Number(row[0]), row);
  }
  await source.close();
  return rows;
}

const encoder = createChangeEncoder(MAPPING, 1);
const decoder = createChangeDecoder(MAPPING, changeSchema(MAPPING));

function overTheWire(row: readonly Value[]): readonly Value[] {
  const change = changeOf(MAPPING, { after: row });
  return decoder.decode(encoder.encode(change, 0), change.key).after ?? [];
}

async function intoPostgres(found: Case, value: Exclude<Value, null>): Promise<void> {
  const column = `c${found.column - 1}`;
  await postgres.query(`insert into everything (id, ${column}) values ($1, $2)`, [
    found.id,
    formatterFor(found.type)(value),
  ]);
  const { rows } = await postgres.query<{ text: string }>(
    `select ${exchangeFromPostgres(found.type, column)} as text from everything where id = $1`,
    [found.id],
  );
  const stored = rows[0]?.text ?? '';
  // jsonb has its own order and spacing: two texts of one value print alike.
  const expected = found.type.name === 'jsonb' ? await normalised(found.exchange) : found.exchange;
  assert.deepEqual(
    parseExchange(found.type, stored),
    parseExchange(found.type, expected),
    `${labelOf(found)}: stored in Postgres as ${stored.slice(0, 80)}`,
  );
}

function exchangeFromPostgres(type: ColumnType, column: string): string {
  if (type.name === 'date') return `(${column} - date '1970-01-01')::text`;
  if (type.name === 'timestamp' || type.name === 'timestamptz') {
    return `trunc(extract(epoch from ${column}) * 1000000)::text`;
  }
  if (type.name === 'bytea') return `encode(${column}, 'hex')`;
  return `${column}::text`;
}

async function normalised(json: string): Promise<string> {
  const { rows } = await postgres.query<{ text: string }>('select $1::jsonb::text as text', [json]);
  return rows[0]?.text ?? '';
}

function labelOf({ type, exchange }: Case): string {
  return `${type.name} ${JSON.stringify(exchange.slice(0, 60))}`;
}

async function run(sql: string, params: Readonly<Record<string, string>> = {}): Promise<void> {
  await databricks.query({ doing: 'testing types', table: NAME, mapping: MAPPING.name, sql, params });
}
