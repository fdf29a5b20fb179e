import type { Micros, Row } from '../../src/change/change.ts';
import { keyIndexes, type TableMapping } from '../../src/change/table.ts';
import { OperatorError } from '../../src/errors.ts';
import type { Position } from '../../src/ports/change-log.ts';
import {
  SchemaChangedError,
  type DeltaChangeRow,
  type DeltaChangeType,
  type DeltaCommit,
  type DeltaSource,
} from '../../src/ports/delta-source.ts';

interface FakeCommit extends DeltaCommit {
  readonly ts: Micros;
  readonly rows: readonly DeltaChangeRow[];
  /** What the table held after it. */
  readonly state: readonly Row[];
}

export interface FakeMerge {
  readonly upserts?: readonly Row[];
  /** Keys (values of the first key column) to delete. */
  readonly deletes?: readonly Row[number][];
  readonly mark?: string;
}

/** A Delta table in memory that writes its change data feed as Delta does: whole rewrites included. */
export class FakeDelta {
  readonly commits: FakeCommit[] = [];
  readonly schemaChanges = new Set<number>();
  readonly mapping: TableMapping;
  id = 'table-1';
  pageRows = 3;
  /** Versions below it were vacuumed. */
  readableFrom = 0;
  /** Versions below it are no longer in the history. */
  historyFrom = 0;
  changeDataFeed = true;
  /** Commits that are read are refused where their schema cannot be read across. */
  unreadable: number | null = null;
  private life = '';

  constructor(mapping: TableMapping) {
    this.mapping = mapping;
    this.commit('CREATE TABLE', [], []);
  }

  get version(): number {
    return this.commits.length - 1;
  }

  get rows(): readonly Row[] {
    return this.commits.at(-1)?.state ?? [];
  }

  insert(...rows: Row[]): void {
    this.commit(
      'WRITE',
      rows.map((row) => ['insert', row] as const),
      [...this.rows, ...rows],
    );
  }

  /** Rows for which `change` answers a row are rewritten, also with what they held. */
  update(change: (row: Row) => Row | null): void {
    const images = this.rows.flatMap((row) => {
      const next = change(row);
      return next === null
        ? []
        : ([
            ['update_preimage', row],
            ['update_postimage', next],
          ] as const);
    });
    this.commit(
      'UPDATE',
      images,
      this.rows.map((row) => change(row) ?? row),
    );
  }

  delete(matches: (row: Row) => boolean): void {
    const gone = this.rows.filter(matches);
    this.commit(
      'DELETE',
      gone.map((row) => ['delete', row] as const),
      this.rows.filter((row) => !matches(row)),
    );
  }

  merge({ upserts = [], deletes = [], mark }: FakeMerge): void {
    const images: (readonly [DeltaChangeType, Row])[] = [];
    let state = [...this.rows];
    for (const key of deletes) {
      images.push(...state.filter((row) => this.keyOf(row) === key).map((row) => ['delete', row] as const));
      state = state.filter((row) => this.keyOf(row) !== key);
    }
    for (const row of upserts) {
      const at = state.findIndex((old) => this.keyOf(old) === this.keyOf(row));
      const old = state[at];
      if (old === undefined) images.push(['insert', row]);
      else images.push(['update_preimage', old], ['update_postimage', row]);
      state = old === undefined ? [...state, row] : state.with(at, row);
    }
    this.commit('MERGE', images, state, mark);
  }

  /** INSERT OVERWRITE and RESTORE: every old row is deleted, every new one inserted. */
  overwrite(rows: readonly Row[]): void {
    const images = [
      ...this.rows.map((row) => ['delete', row] as const),
      ...rows.map((row) => ['insert', row] as const),
    ];
    this.commit('WRITE', images, rows);
  }

  restore(version: number): void {
    this.overwrite(this.commits[version]?.state ?? []);
  }

  /** A commit without rows, as OPTIMIZE or ALTER TABLE make. */
  empty(operation = 'OPTIMIZE'): void {
    this.commit(operation, [], this.rows);
  }

  /** CREATE OR REPLACE TABLE: the history goes on, the table is another. */
  replace(): void {
    this.id = `${this.id}'`;
    this.commit('CREATE OR REPLACE TABLE', [], []);
  }

  /** DROP and CREATE: another table, another history. */
  createAnew(): void {
    this.id = `${this.id}'`;
    this.commits.length = 0;
    this.commit('CREATE TABLE', [], []);
  }

  /** Its files as of a version, somewhere else: what is committed to it from now on is committed at other times. */
  copyAt(version: number): FakeDelta {
    const copy = new FakeDelta(this.mapping);
    copy.commits.length = 0;
    copy.commits.push(...this.commits.slice(0, version + 1));
    copy.id = this.id;
    copy.life = `${this.life}'`;
    return copy;
  }

  /** Rows as they are: for what no command of an honest table writes. */
  raw(...rows: readonly (Pick<DeltaChangeRow, 'type' | 'row'> & Partial<DeltaChangeRow>)[]): void {
    const version = this.commits.length;
    const ts = timeOf(version);
    this.commits.push({
      version,
      operation: 'RAW',
      stamp: `${this.id}@${ts}${this.life}`,
      mark: null,
      ts,
      rows: this.sorted(rows.map((row) => ({ invalid: null, ...row, version, ts }))),
      state: this.rows,
    });
  }

  source(): DeltaSource {
    return {
      describe: async () => ({
        id: this.id,
        changeDataFeed: this.changeDataFeed,
        stamp: `${this.id}@${this.version}`,
      }),
      commits: async (limit) =>
        this.commits
          .slice(this.historyFrom)
          .slice(-limit)
          .reverse()
          .map(({ version, operation, stamp, mark }) => ({ version, operation, stamp, mark })),
      changes: (from, to, signal) => this.changes(from, to, signal),
      close: async () => {},
    };
  }

  private async *changes(
    from: number,
    to: number,
    signal?: AbortSignal,
  ): AsyncGenerator<readonly DeltaChangeRow[]> {
    signal?.throwIfAborted();
    if (from > this.version)
      throw new OperatorError({ code: 'TEST', message: `version ${from} was asked past the latest` });
    if (from < this.readableFrom)
      throw new OperatorError({
        code: 'DELTA_VERSIONS_GONE',
        message: 'vacuumed',
        remedy: 'deltaferry backfill',
      });
    if (this.unreadable !== null && from <= this.unreadable && this.unreadable <= to)
      throw new SchemaChangedError({ code: 'DELTA_SCHEMA_CHANGED', message: 'unreadable', version: null });
    const change = [...this.schemaChanges].find((version) => version > from && version <= to);
    if (change !== undefined)
      throw new SchemaChangedError({ code: 'DELTA_SCHEMA_CHANGED', message: 'schema', version: change });
    const rows = this.commits.slice(from, to + 1).flatMap((commit) => commit.rows);
    for (let at = 0; at < rows.length; at += this.pageRows) {
      signal?.throwIfAborted();
      yield rows.slice(at, at + this.pageRows);
    }
  }

  private commit(
    operation: string,
    images: readonly (readonly [DeltaChangeType, Row])[],
    state: readonly Row[],
    mark: string | null = null,
  ): void {
    const version = this.commits.length;
    const ts = timeOf(version);
    const rows = images.map(([type, row]) => ({ version, type, ts, row, invalid: null }));
    this.commits.push({
      version,
      operation,
      stamp: `${this.id}@${ts}${this.life}`,
      mark,
      ts,
      rows: this.sorted(rows),
      state,
    });
  }

  private keyOf(row: Row): Row[number] | undefined {
    return row[keyIndexes(this.mapping)[0] ?? 0];
  }

  private sorted(rows: readonly DeltaChangeRow[]): readonly DeltaChangeRow[] {
    const text = (row: DeltaChangeRow): string =>
      `${keyIndexes(this.mapping)
        .map((index) => String(row.row[index] ?? '').padStart(20))
        .join('|')} ${row.type}`;
    return rows.toSorted((a, b) => (text(a) < text(b) ? -1 : text(a) > text(b) ? 1 : 0));
  }
}

/** One second apart, microseconds. */
export function timeOf(version: number): number {
  return 1_700_000_000_000_000 + version * 1_000_000;
}

/** Where a feed of a table that nobody has replaced is behind a version, and so many keys of the next. */
export function positionAt(version: number, groups: number): Position {
  return { tableId: 'table-1', version, groups, stamp: `table-1@${timeOf(version)}` };
}
