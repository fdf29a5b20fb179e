import type { Change, Row } from '../../src/change/change.ts';
import { keyOf } from '../../src/change/key.ts';
import type { TableMapping } from '../../src/change/table.ts';
import { OperatorError } from '../../src/errors.ts';
import type { LogFacts, LogPage, LogWindow, PostgresLog, Snapshot } from '../../src/ports/postgres-log.ts';
import { tick } from './fake-log.ts';

interface Logged {
  readonly id: bigint;
  readonly xid: number;
  readonly key: string;
  readonly before: Row | null;
  readonly after: Row | null;
}

/** A transaction of the fake; keys that another one has written and not ended are the caller's to avoid. */
export interface FakeTransaction {
  readonly xid: number;
  /** The row with its key, or none. */
  set(key: number, row: Row | null): void;
  commit(): void;
  rollback(): void;
}

/** The log of one captured table in memory: transactions, snapshots and net effects as Postgres has them. */
export class FakePostgresLog {
  pageChanges = 3;
  /** What `upkeep` was called with. */
  readonly acknowledged: Snapshot[] = [];
  readonly windows: LogWindow[] = [];
  /** Committed net changes in commit order, to compare with. */
  readonly committed: {
    readonly xid: number;
    readonly key: string;
    readonly before: Row | null;
    readonly after: Row | null;
  }[] = [];
  private readonly mapping: TableMapping;
  private readonly rows: Logged[] = [];
  private readonly table = new Map<string, Row>();
  private readonly open = new Map<number, Map<string, Row | null>>();
  private readonly rolledBack = new Set<number>();
  private nextXid = 700;
  private nextId = 1n;
  private marked = 0;

  constructor(mapping: TableMapping) {
    this.mapping = mapping;
  }

  begin(): FakeTransaction {
    const xid = this.nextXid++;
    const keyText = keyOf(this.mapping);
    const mine = new Map<string, Row | null>();
    this.open.set(xid, mine);
    return {
      xid,
      set: (id, row) => {
        const key = keyText(row ?? [id, null, null]);
        const before = mine.has(key) ? (mine.get(key) ?? null) : (this.table.get(key) ?? null);
        mine.set(key, row);
        this.rows.push({ id: this.nextId++, xid, key, before, after: row });
      },
      commit: () => {
        this.open.delete(xid);
        for (const [key, after] of mine) {
          const before = this.table.get(key) ?? null;
          if (after === null) this.table.delete(key);
          else this.table.set(key, after);
          if (text(before) !== text(after)) this.committed.push({ xid, key, before, after });
        }
      },
      rollback: () => {
        this.open.delete(xid);
        this.rolledBack.add(xid);
      },
    };
  }

  /** One transaction of its own. */
  write(...rows: readonly (readonly [key: number, row: Row | null])[]): void {
    const transaction = this.begin();
    for (const [key, row] of rows) transaction.set(key, row);
    transaction.commit();
  }

  /** As when a transaction elsewhere in the database ends. */
  skipTransaction(): void {
    this.nextXid++;
  }

  now(): Snapshot {
    const xips = [...this.open.keys()].sort((a, b) => a - b);
    return `${xips[0] ?? this.nextXid}:${this.nextXid}:${xips.join(',')}`;
  }

  /** What a backup has, or a standby that has received everything up to now and then lives a life of its own. */
  copy(): FakePostgresLog {
    const copy = new FakePostgresLog(this.mapping);
    copy.rows.push(...this.rows);
    copy.committed.push(...this.committed);
    for (const [key, row] of this.table) copy.table.set(key, row);
    for (const xid of [...this.rolledBack, ...this.open.keys()]) copy.rolledBack.add(xid);
    copy.nextXid = this.nextXid;
    copy.nextId = this.nextId;
    copy.marked = this.marked;
    return copy;
  }

  /** One process's view of it. */
  source(): PostgresLog {
    return {
      snapshot: async (acknowledged, mark = null) => {
        await tick();
        if (acknowledged !== null && parse(acknowledged).xmax > this.nextXid)
          throw new OperatorError({
            code: 'POSTGRES_RESTORED',
            message: `it is at ${this.now()}, before ${acknowledged}`,
          });
        if (mark !== null && Number(mark.split('/')[1]) > this.marked)
          throw new OperatorError({ code: 'POSTGRES_RESTORED', message: `it has no mark ${mark}` });
        return this.now();
      },
      mark: async () => {
        await tick();
        return `7/${++this.marked}`;
      },
      read: (window, signal) => this.read(window, signal),
      upkeep: async (acknowledged): Promise<LogFacts> => {
        await tick();
        this.acknowledged.push(acknowledged);
        return { partitions: 5, bytes: this.rows.length, oldestTransactionMs: 0 };
      },
      close: async () => {},
    };
  }

  private async *read(window: LogWindow, signal: AbortSignal): AsyncGenerator<LogPage> {
    signal.throwIfAborted();
    this.windows.push(window);
    const changes = this.net(window);
    for (let at = 0; at < changes.length; at += this.pageChanges) {
      await tick();
      signal.throwIfAborted();
      const page = changes.slice(at, at + this.pageChanges);
      yield { changes: page, rejected: [], last: BigInt(page.at(-1)!.position), bytes: page.length * 50 };
    }
  }

  private net({ from, to, after }: LogWindow): Change[] {
    const groups = new Map<string, Logged[]>();
    for (const row of this.rows) {
      if (!sees(to, row.xid) || sees(from, row.xid) || this.rolledBack.has(row.xid)) continue;
      const id = `${row.xid} ${row.key}`;
      groups.set(id, [...(groups.get(id) ?? []), row]);
    }
    return [...groups.values()]
      .map((rows) => ({ first: rows[0]!, last: rows.at(-1)! }))
      .filter(({ first, last }) => text(first.before) !== text(last.after) && last.id > after)
      .sort((a, b) => (a.last.id < b.last.id ? -1 : 1))
      .map(({ first, last }) => ({
        op: first.before === null ? 'insert' : last.after === null ? 'delete' : 'update',
        key: last.key,
        before: first.before,
        after: last.after,
        origin: 'postgres',
        table: this.mapping.name,
        position: Number(last.id),
        ts: Number(last.id) * 1000,
        tx: last.xid,
        load: null,
      }));
  }
}

function sees(snapshot: Snapshot, xid: number): boolean {
  const { xmax, open } = parse(snapshot);
  return xid < xmax && !open.has(xid);
}

function parse(snapshot: Snapshot): { readonly xmax: number; readonly open: ReadonlySet<number> } {
  const [, xmax = '0', open = ''] = snapshot.split(':');
  return { xmax: Number(xmax), open: new Set(open === '' ? [] : open.split(',').map(Number)) };
}

const text = (row: Row | null): string => JSON.stringify(row);
