import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { OperatorError } from '../../src/errors.ts';
import type { LogPage, LogWindow, PostgresLog } from '../../src/ports/postgres-log.ts';

/** A captured table of employees that the contract writes to; names are enough to tell rows apart. */
export interface ContractLog {
  /** Its pages hold so many changes at most. */
  source(pageChanges: number): PostgresLog;
  begin(): Promise<ContractTransaction>;
}

export interface ContractTransaction {
  /** Null: the row goes. */
  set(key: number, name: string | null): Promise<void>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
}

/** What every PostgresLog, fake and real, does: the fakes of the loop's tests are only worth this. */
export function postgresLogContract(kind: string, open: () => Promise<ContractLog>): void {
  describe(`PostgresLog contract: ${kind}`, () => {
    it('a window holds what one snapshot sees and the other does not: late commits, no rollbacks', async () => {
      const log = await open();
      const source = log.source(100);
      const start = await source.snapshot(null);
      const late = await log.begin();
      await late.set(1, 'late');
      await write(log, [2, 'Bob']);
      const undone = await log.begin();
      await undone.set(3, 'undone');
      await undone.rollback();
      const first = await source.snapshot(start);
      await write(log, [4, 'Dan']);
      await late.set(5, 'late');
      await late.commit();
      const second = await source.snapshot(first);
      await write(log, [6, 'after']);
      assert.deepEqual(await lines(source, start, first), ['insert 2 →Bob']);
      assert.deepEqual(await lines(source, first, second), [
        'insert 1 →late',
        'insert 4 →Dan',
        'insert 5 →late',
      ]);
      assert.deepEqual(await lines(source, start, second), [
        'insert 1 →late',
        'insert 2 →Bob',
        'insert 4 →Dan',
        'insert 5 →late',
      ]);
      assert.deepEqual(await lines(source, second, second), []);
    });

    it('net effects per transaction and key, in the order of their last change', async () => {
      const log = await open();
      const source = log.source(100);
      await write(log, [1, 'Ann'], [2, 'Bob'], [3, 'Cid']);
      const start = await source.snapshot(null);
      const older = await log.begin();
      await older.set(1, 'Anna');
      await write(log, [2, 'Bobby']);
      await older.set(4, 'gone');
      await older.set(2, 'Rob');
      await older.set(4, null);
      await older.set(1, 'Annika');
      await older.set(3, null);
      await older.set(3, 'Cid');
      await older.commit();
      const end = await source.snapshot(start);
      assert.deepEqual(await lines(source, start, end), [
        'update 2 Bob→Bobby',
        'update 2 Bobby→Rob',
        'update 1 Ann→Annika',
      ]);
      const [first, second, third] = await changes(source, { from: start, to: end, after: 0n });
      assert.equal(second?.tx, third?.tx);
      assert.ok(Number(first?.tx) > Number(second?.tx), 'the younger transaction comes first');
      assert.ok(Number(first?.ts) <= Number(second?.ts) && Number(second?.ts) <= Number(third?.ts));
    });

    it('pages of bounded size, resumed behind any of them', async () => {
      const log = await open();
      const source = log.source(2);
      const start = await source.snapshot(null);
      await write(log, [1, 'a'], [2, 'b'], [3, 'c'], [4, 'd'], [5, 'e']);
      await write(log, [6, 'f']);
      const end = await source.snapshot(start);
      const whole = await pages(source, { from: start, to: end, after: 0n });
      assert.deepEqual(
        whole.map((page) => page.changes.map(({ key }) => key)),
        [
          ['1', '2'],
          ['3', '4'],
          ['5', '6'],
        ],
      );
      assert.deepEqual(
        whole.map(({ last }) => last),
        whole.map((page) => BigInt(page.changes.at(-1)!.position)),
      );
      for (const [index, { last }] of whole.entries()) {
        const rest = await changes(source, { from: start, to: end, after: last });
        assert.deepEqual(
          rest,
          whole.slice(index + 1).flatMap((page) => page.changes),
        );
      }
      assert.ok(whole.every(({ bytes }) => bytes > 0));
    });

    it('an abort ends a read, leaving it early hurts nobody', async () => {
      const log = await open();
      const source = log.source(1);
      const start = await source.snapshot(null);
      await write(log, [1, 'a'], [2, 'b'], [3, 'c']);
      const end = await source.snapshot(start);
      const window = { from: start, to: end, after: 0n };
      const aborted = new AbortController();
      aborted.abort(new Error('enough'));
      await assert.rejects(pages(source, window, aborted.signal), /enough/);
      for await (const page of source.read(window, new AbortController().signal)) {
        assert.equal(page.changes.length, 1);
        break;
      }
      assert.equal((await changes(source, window)).length, 3);
    });

    it('refuses a database that is behind what was acknowledged', async () => {
      const source = (await open()).source(1);
      const now = await source.snapshot(null);
      assert.equal(typeof (await source.snapshot(now)), 'string');
      const later = BigInt(now.split(':')[1]!) + 1_000_000n;
      await assert.rejects(
        source.snapshot(`${later}:${later}:`),
        (error) => error instanceof OperatorError && error.code === 'POSTGRES_RESTORED',
      );
    });

    it('upkeep tells what is kept', async () => {
      const log = await open();
      const source = log.source(1);
      await write(log, [1, 'a']);
      const facts = await source.upkeep(await source.snapshot(null));
      assert.ok(
        facts.partitions > 0 && facts.bytes > 0 && facts.oldestTransactionMs >= 0,
        JSON.stringify(facts),
      );
    });
  });
}

async function write(log: ContractLog, ...rows: (readonly [number, string | null])[]): Promise<void> {
  const transaction = await log.begin();
  for (const [key, name] of rows) await transaction.set(key, name);
  await transaction.commit();
}

async function pages(
  source: PostgresLog,
  window: LogWindow,
  signal = new AbortController().signal,
): Promise<LogPage[]> {
  const all: LogPage[] = [];
  for await (const page of source.read(window, signal)) all.push(page);
  return all;
}

async function changes(source: PostgresLog, window: LogWindow): Promise<LogPage['changes']> {
  return (await pages(source, window)).flatMap((page) => page.changes);
}

async function lines(source: PostgresLog, from: string, to: string): Promise<string[]> {
  return (await changes(source, { from, to, after: 0n })).map(
    ({ op, key, before, after }) => `${op} ${key} ${String(before?.[1] ?? '')}→${String(after?.[1] ?? '')}`,
  );
}
