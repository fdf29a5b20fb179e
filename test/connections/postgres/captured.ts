import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Pool, PoolClient } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import type { TableMapping } from '../../../src/change/table.ts';
import { parseColumnType } from '../../../src/change/types.ts';
import { createCaptureSql, createLogSql, logTable } from '../../../src/connections/postgres/capture-ddl.ts';
import type { CaptureTarget } from '../../../src/connections/postgres/capture-sql.ts';

export type Image = Readonly<Record<string, string | null>>;

export interface LogRow {
  readonly xid: string;
  readonly op: string;
  readonly key: string;
  readonly before: Image | null;
  readonly after: Image | null;
}

export interface Captured {
  /** Rows logged since it was last asked, in the log's order. */
  logged(): Promise<readonly LogRow[]>;
  /** The same as net changes, one line each: `1: {"a":"x"} → null`, sorted. */
  net(): Promise<readonly string[]>;
}

export function mappingOf(
  name: string,
  key: readonly string[],
  columns: Readonly<Record<string, string>>,
): TableMapping {
  return {
    name,
    key,
    columns: Object.entries(columns).map(([column, type]) => ({ name: column, type: parseColumnType(type) })),
  };
}

/** Logs the table, which is there, from now on. `relations`: what gets triggers, quoted; default the table. */
export async function capture(
  pool: Pool | PoolClient,
  target: CaptureTarget,
  relations?: readonly string[],
): Promise<Captured> {
  const { name } = target.mapping;
  await pool.query('CREATE SCHEMA IF NOT EXISTS deltaferry');
  for (const sql of [...createLogSql(name), ...createCaptureSql(target, relations)]) await pool.query(sql);
  let seen = '0';
  async function logged(): Promise<readonly LogRow[]> {
    const { rows } = await pool.query<Record<keyof LogRow | 'id', string>>(
      `SELECT change_id AS id, xid::text, op::text, key, before::text, after::text
       FROM ${logTable(name)} WHERE change_id > $1 ORDER BY change_id`,
      [seen],
    );
    seen = rows.at(-1)?.id ?? seen;
    return rows.map(({ xid, op, key, before, after }) => ({
      xid,
      op,
      key,
      before: image(before),
      after: image(after),
    }));
  }
  return {
    logged,
    net: async () =>
      netChanges(await logged())
        .map(changeText)
        .toSorted(),
  };
}

/** Statements one by one, each in its own transaction. */
export async function run(pool: Pool, ...statements: readonly string[]): Promise<void> {
  for (const statement of statements) await pool.query(statement);
}

/** All statements in one transaction. */
export async function together(pool: Pool, ...statements: readonly string[]): Promise<void> {
  await pool.query(`begin; ${statements.join('; ')}; commit`);
}

export async function copyIn(pool: Pool, statement: string, text: string): Promise<void> {
  const client = await pool.connect();
  try {
    await pipeline(Readable.from([text]), client.query(copyFrom(statement)));
  } finally {
    client.release();
  }
}

interface NetChange {
  readonly xid: string;
  readonly key: string;
  readonly from: string;
  readonly to: string;
}

/** The rule of the log, spelled out: per transaction and key, where the walk through its states begins and ends. */
function netChanges(rows: readonly LogRow[]): readonly NetChange[] {
  const walks = Map.groupBy(rows, ({ xid, key }) => JSON.stringify([xid, key]));
  return [...walks].flatMap(([id, steps]) => {
    const balance = new Map<string, number>();
    for (const { before, after } of steps)
      for (const [state, by] of [
        [before, 1],
        [after, -1],
      ] as const)
        balance.set(JSON.stringify(state), (balance.get(JSON.stringify(state)) ?? 0) + by);
    const ends = (sign: number) => [...balance].filter(([, count]) => Math.sign(count) === sign);
    const [from, to] = [ends(1), ends(-1)];
    if (from.length === 0 && to.length === 0) return [];
    if (from.length !== 1 || to.length !== 1) throw new Error(`no walk: ${JSON.stringify(steps)}`);
    const [xid, key] = JSON.parse(id) as [string, string];
    return [{ xid, key, from: from[0]![0], to: to[0]![0] }];
  });
}

function changeText({ key, from, to }: NetChange): string {
  return `${key}: ${from} → ${to}`;
}

function image(text: string | null): Image | null {
  return text === null ? null : (JSON.parse(text) as Image);
}
