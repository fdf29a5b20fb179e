import { randomUUID } from 'node:crypto';
import type { TableMapping } from '../../change/table.ts';
import { quoteDatabricksQualified } from '../identifiers.ts';
import { textOf, type Databricks, type DatabricksRow } from './client.ts';
import { commitMark } from './commit-mark.ts';
import { touchedSql, type StagedLines } from './load-merge-sql.ts';
import { putLoadFile } from './load-staging.ts';

/** The keys that others have changed in a table since a version, as files in the volume. */
export interface Touched {
  /** The version up to which they are known. */
  readonly version: number;
  /** Null where there are none. */
  readonly lines: StagedLines | null;
  readonly names: readonly string[];
}

/** A key that comes in several files is one key. */
const LINES_PER_FILE = 100_000;
const FIRST_LIMIT = 30;
const GROWTH = 10;

export function createTouchedKeys({
  client,
  table,
  mapping,
  folder,
}: {
  readonly client: Databricks;
  readonly table: string;
  readonly mapping: TableMapping;
  /** Of the load. */
  readonly folder: string;
}): { since(version: number, signal: AbortSignal): Promise<Touched> } {
  const own = `${folder}/touched`;
  const names: string[] = [];
  let known: number | null = null;

  async function put(lines: readonly string[]): Promise<void> {
    const name = `${randomUUID()}.jsonl`;
    await putLoadFile(client, `${own}/${name}`, lines.join('\n'));
    names.push(name);
  }

  async function read(from: number, to: number, marked: readonly number[], signal: AbortSignal) {
    let lines: string[] = [];
    const pages = client.stream({
      doing: 'looking for changes of others',
      table,
      mapping: mapping.name,
      sql: touchedSql(mapping),
      params: { table: quoteDatabricksQualified(table), from, to, own: JSON.stringify(marked) },
      signal,
    });
    for await (const page of pages) {
      lines.push(...page);
      if (lines.length < LINES_PER_FILE) continue;
      await put(lines);
      lines = [];
    }
    if (lines.length > 0) await put(lines);
  }

  return {
    async since(version, signal) {
      const after = known ?? version;
      const { newest, commits } = await commitsAfter(client, table, after);
      const others = commits.filter((commit) => commitMark(commit) === null && mayChangeRows(commit));
      if (others.length > 0) {
        const versions = others.map(versionOf);
        const marked = commits.filter((commit) => commitMark(commit) !== null).map(versionOf);
        await read(Math.min(...versions), Math.max(...versions), marked, signal);
      }
      known = newest;
      return {
        version: newest,
        lines: names.length === 0 ? null : { folder: own, names: 'touched' },
        names,
      };
    },
  };
}

async function commitsAfter(
  client: Databricks,
  table: string,
  version: number,
): Promise<{ readonly newest: number; readonly commits: readonly DatabricksRow[] }> {
  for (let limit = FIRST_LIMIT; ; limit *= GROWTH) {
    const commits = await newestCommits(client, table, limit);
    const newest = Math.max(...commits.map(versionOf));
    if (commits.some((commit) => versionOf(commit) <= version) || commits.length < limit)
      return { newest, commits: commits.filter((commit) => versionOf(commit) > version) };
  }
}

export async function newestCommits(
  client: Databricks,
  table: string,
  limit: number,
): Promise<readonly DatabricksRow[]> {
  const sql = `DESCRIBE HISTORY ${quoteDatabricksQualified(table)} LIMIT ${limit}`;
  return await client.query({ sql, doing: 'looking at the history', table });
}

export function versionOf({ version }: DatabricksRow): number {
  return Number(version);
}

const NO_ROWS = new Set([
  'CREATE TABLE',
  'SET TBLPROPERTIES',
  'UNSET TBLPROPERTIES',
  'ADD COLUMNS',
  'CHANGE COLUMN',
  'OPTIMIZE',
  'VACUUM START',
  'VACUUM END',
]);

export function mayChangeRows({ operation }: DatabricksRow): boolean {
  return !NO_ROWS.has(textOf(operation));
}
