import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createMergeLedger } from '../../../src/connections/postgres/merge-marks.ts';
import { migrate } from '../../../src/connections/postgres/migrate.ts';
import { FencedError } from '../../../src/errors.ts';
import { HeldByLoadError } from '../../../src/ports/history-sink.ts';
import type { MergeLedger, MergeTurn } from '../../../src/ports/merge-ledger.ts';
import { startProxy, type Proxy } from '../../support/proxy.ts';
import { until } from '../../support/until.ts';
import { createDatabase, urlWith, type TestDatabase } from './database.ts';

let database: TestDatabase;
let proxy: Proxy;
before(async () => {
  database = await createDatabase();
  await migrate(database.pool);
  const { hostname, port } = new URL(database.url);
  proxy = await startProxy({ host: hostname, port: Number(port) });
});
after(async () => {
  await proxy?.close();
  await database?.drop();
});

let count = 0;
let name: string;
let opened: MergeLedger[];
beforeEach(() => {
  name = `t${++count}`;
  opened = [];
});
afterEach(async () => {
  proxy.hang(false);
  for (const ledger of opened) await ledger.close();
});

const forever = new AbortController().signal;

/** Of one replica; `cut` goes through the proxy. */
function ledgerOf(way: 'direct' | 'cut' = 'direct', deadlineMs = 1_000): MergeLedger {
  const url =
    way === 'direct' ? database.url : urlWith(database.url, { host: '127.0.0.1', port: proxy.port });
  const ledger = createMergeLedger({
    pool: database.pool,
    direct: { url, heartbeatMs: 200, deadlineMs },
    sink: name,
    group: 'g',
    topic: name,
  });
  opened.push(ledger);
  return ledger;
}

/** The process of the session that waits for a turn. */
async function waitingBackend(): Promise<number | undefined> {
  const { rows } = await database.pool.query<{ pid: number }>(
    `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  );
  return rows[0]?.pid;
}

const move = (partition: number, expected: bigint, next: bigint) => ({ partition, expected, next });

async function claimed(ledger: MergeLedger): Promise<MergeLedger> {
  await ledger.claim(
    new Map([
      [0, 3n],
      [1, 4n],
    ]),
  );
  return ledger;
}

async function offsets(ledger: MergeLedger): Promise<bigint[]> {
  return Array.from((await ledger.claim(new Map())).offsets.values());
}

describe('the turn to merge', () => {
  it('is one replica’s at a time, and the next has it as soon as it is released', async () => {
    const [one, two] = [ledgerOf(), ledgerOf()];
    const turn = await one.turn(forever);
    assert.equal(await two.turnIfFree(), null);
    let got: MergeTurn | undefined;
    const waiting = two.turn(forever).then((found) => (got = found));
    await one.claim(new Map());
    assert.equal(got, undefined);
    await turn.release();
    await (await waiting).release();
    const free = await one.turnIfFree();
    assert.notEqual(free, null);
    await free?.release();
  });

  it('is one merge’s at a time within a process, too', async () => {
    const one = ledgerOf();
    const turn = await one.turn(forever);
    let got = false;
    const waiting = one.turn(forever).then(async (next) => {
      got = true;
      await next.release();
    });
    await turn.state();
    assert.equal(got, false);
    assert.equal(await one.turnIfFree(), null);
    await turn.release();
    await waiting;
    const free = await one.turnIfFree();
    assert.notEqual(free, null);
    await free?.release();
  });

  it('is not waited for any longer once the signal aborts, in either line', async () => {
    const [one, two] = [ledgerOf(), ledgerOf()];
    const turn = await one.turn(forever);
    for (const ledger of [one, two]) {
      const stop = new AbortController();
      const reason = new Error('stopping');
      const waiting = ledger.turn(stop.signal);
      stop.abort(reason);
      await assert.rejects(waiting, reason);
    }
    await turn.release();
    await (await two.turn(forever)).release();
    await (await one.turn(forever)).release();
  });

  it('is given back whole, also where Postgres granted it to a wait just as that wait timed out', async () => {
    const [one, two] = [ledgerOf(), ledgerOf('direct', 10_000)];
    const turn = await one.turn(forever);
    const waiting = two.turn(forever);
    let backend: number | undefined;
    await until('somebody waits', async () => (backend = await waitingBackend()) !== undefined);
    process.kill(backend!, 'SIGSTOP');
    try {
      await turn.release();
      // Longer than one wait lasts, so that the grant and the end of the wait are found together.
      await delay(1_500);
    } finally {
      process.kill(backend!, 'SIGCONT');
    }
    await (await waiting).release();
    const free = await one.turnIfFree();
    assert.notEqual(free, null);
    await free?.release();
  });

  it('is lost with its connection: its holder hears of it, writes nothing more, and another goes on', async () => {
    const [one, two] = [ledgerOf('cut'), ledgerOf()];
    await claimed(one);
    const turn = await one.turn(forever);
    proxy.cut();
    await until('it is lost', () => turn.lost.aborted);
    assert.equal((turn.lost.reason as { code?: string }).code, 'MERGE_TURN_LOST');
    const next = await two.turn(forever);
    await assert.rejects(turn.begin(0n, 'm', [move(0, 3n, 5n)]), { kind: 'transient' });
    assert.equal((await next.state()).pending, null);
    await next.release();
    await turn.release();
    const again = await one.turn(forever);
    await again.release();
  });

  it('is lost within seconds by a replica that is cut off without a word', async () => {
    const [one, two] = [ledgerOf('cut'), ledgerOf()];
    const turn = await one.turn(forever);
    proxy.hang(true);
    await until('it is lost', () => turn.lost.aborted);
    await (await two.turn(forever)).release();
    await turn.release();
  });
});

describe('the ledger', () => {
  it('notes a merge only from where the offsets are, in its epoch, one at a time', async () => {
    const ledger = await claimed(ledgerOf());
    const turn = await ledger.turn(forever);
    for (const [epoch, moves] of [
      [0n, [move(0, 2n, 9n)]],
      [0n, [move(0, 3n, 9n), move(1, 3n, 9n)]],
      [0n, [move(7, 0n, 9n)]],
      [1n, [move(0, 3n, 9n)]],
    ] as const)
      await assert.rejects(turn.begin(epoch, 'm', moves), FencedError);
    await turn.begin(0n, 'm', [move(0, 3n, 9n), move(1, 4n, 5n)]);
    await assert.rejects(turn.begin(0n, 'n', [move(0, 3n, 9n)]), FencedError);
    const { pending, epoch } = await turn.state();
    assert.deepEqual([pending?.mark, epoch], ['m', 0n]);
    assert.ok(Math.abs(Date.now() - (pending?.since.getTime() ?? 0)) < 60_000);
    await turn.release();
  });

  it('moves the offsets with the end of a merge, never back, and once', async () => {
    const ledger = await claimed(ledgerOf());
    const turn = await ledger.turn(forever);
    await turn.begin(0n, 'm', [move(0, 3n, 9n)]);
    await turn.finish('another', new Map([[0, 99n]]));
    assert.deepEqual([(await turn.state()).pending?.mark, await offsets(ledger)], ['m', [3n, 4n]]);
    await turn.finish(
      'm',
      new Map([
        [0, 9n],
        [1, 1n],
      ]),
    );
    assert.deepEqual([(await turn.state()).pending, await offsets(ledger)], [null, [9n, 4n]]);
    await turn.finish('m', new Map([[0, 99n]]));
    assert.deepEqual(await offsets(ledger), [9n, 4n]);
    await turn.release();
  });

  it('forgets that merge and no other', async () => {
    const ledger = await claimed(ledgerOf());
    const turn = await ledger.turn(forever);
    await turn.begin(0n, 'm', [move(0, 3n, 9n)]);
    await turn.forget('another');
    assert.equal((await turn.state()).pending?.mark, 'm');
    await turn.forget('m');
    assert.deepEqual([(await turn.state()).pending, await offsets(ledger)], [null, [3n, 4n]]);
    await turn.release();
  });

  it('raises offsets and the epoch, never back', async () => {
    const ledger = await claimed(ledgerOf());
    const turn = await ledger.turn(forever);
    await turn.raise(
      new Map([
        [0, 8n],
        [1, 1n],
        [2, 6n],
      ]),
    );
    await turn.advance(4n);
    await turn.advance(2n);
    assert.deepEqual([await offsets(ledger), (await turn.state()).epoch], [[8n, 4n, 6n], 4n]);
    await turn.release();
  });

  it('moves offsets without a merge all or none', async () => {
    const ledger = await claimed(ledgerOf());
    await assert.rejects(ledger.move([move(0, 3n, 5n), move(1, 3n, 5n)]), FencedError);
    assert.deepEqual(await offsets(ledger), [3n, 4n]);
    await ledger.move([move(0, 3n, 5n), move(1, 4n, 6n)]);
    assert.deepEqual(await offsets(ledger), [5n, 6n]);
  });

  it('is another for another table or group', async () => {
    const one = await claimed(ledgerOf());
    const turn = await one.turn(forever);
    await turn.begin(0n, 'm', [move(0, 3n, 9n)]);
    name = `${name}_other`;
    const other = await claimed(ledgerOf());
    const free = await other.turnIfFree();
    assert.deepEqual([(await free?.state())?.pending, await offsets(other)], [null, [3n, 4n]]);
    await free?.release();
    await turn.release();
  });
});

describe('a load that fills the table', () => {
  it('lets no merge of changes begin until it is done, and its own all the same', async () => {
    const ledger = await claimed(ledgerOf());
    assert.equal(await ledger.heldBy(), null);
    const hold = (load: string | null) =>
      database.pool.query('UPDATE deltaferry.offsets SET held_by = $1 WHERE topic = $2', [load, name]);
    await hold('load-1');
    assert.equal(await ledger.heldBy(), 'load-1');
    const turn = await ledger.turn(forever);
    await assert.rejects(
      turn.begin(0n, 'a mark', [move(0, 3n, 5n)]),
      (error) => error instanceof HeldByLoadError && error.load === 'load-1',
    );
    assert.equal((await turn.state()).pending, null);
    await turn.begin(0n, 'the mark of the load', []);
    await turn.finish('the mark of the load', new Map());
    await hold(null);
    await turn.begin(0n, 'a mark', [move(0, 3n, 5n)]);
    await turn.finish('a mark', new Map([[0, 5n]]));
    assert.equal((await turn.state()).offsets.get(0), 5n);
    await turn.release();
  });
});
