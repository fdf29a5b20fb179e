import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FencedError, type OperatorError } from '../../src/errors.ts';
import { progressPosition } from '../../src/flow/load-manifest.ts';
import type { PublishedSoFar, SnapshotPart, SnapshotRest, SnapshotRow } from '../../src/ports/load.ts';
import { publishLoad, type LoadPublisherOptions } from '../../src/producers/load-publisher.ts';
import { seededRandom } from '../support/change-generator.ts';
import { employee, employees } from './employees.ts';
import { FakeTopic, tick } from './fake-log.ts';
import { withFaults, type Fault } from './faults.ts';

const PIECES = 12;
const ROWS_PER_PIECE = 5;

/** A snapshot in memory that counts what is read of it; the place in a piece is a number of rows. */
function snapshot(
  change: (piece: number, rows: SnapshotRow[]) => SnapshotRow[] = (_, rows) => rows,
  perPart = ROWS_PER_PIECE,
) {
  const reads: number[] = [];
  return {
    reads,
    pieces: Array.from({ length: PIECES }, (_, piece) => `piece ${piece}`),
    async *read({ pieces, at }: SnapshotRest): AsyncGenerator<SnapshotPart> {
      let from = Number(at ?? 0);
      for (const piece of pieces) {
        const index = Number(piece.slice(6));
        reads.push(index);
        await tick();
        const rows = Array.from({ length: ROWS_PER_PIECE }, (_, n): SnapshotRow => ({
          kind: 'row',
          row: employee(index * ROWS_PER_PIECE + n),
        }));
        const all = change(index, rows);
        for (; from + perPart < all.length; from += perPart)
          yield { rows: all.slice(from, from + perPart), at: String(from + perPart) };
        yield { rows: all.slice(from), at: null };
        from = 0;
      }
    },
  };
}

function publish(
  topic: FakeTopic,
  source: ReturnType<typeof snapshot>,
  more: Partial<LoadPublisherOptions> = {},
): Promise<PublishedSoFar> {
  topic.position ??= progressPosition({ load: 'load-1', postgresId: 'postgres' }, NOTHING);
  return publishLoad(
    {
      name: 'employees',
      postgresId: 'postgres',
      topics: { newestLoad: async () => topic.position },
      load: 'load-1',
      pinned: { tableId: 'table-1', version: 7, ts: 1000, rows: PIECES * ROWS_PER_PIECE },
      pieces: source.pieces,
      mapping: employees,
      origin: 'delta',
      source,
      log: topic.log(),
      room: async () => {},
      onPublished: () => {},
      onRead: () => {},
      random: () => 0,
      ...more,
    },
    new AbortController().signal,
  );
}

const NOTHING = { parts: 0, at: null, rows: 0, rejected: 0 };
const ALL = Array.from({ length: PIECES * ROWS_PER_PIECE }, (_, id) => String(id));

describe('publishing a load', () => {
  it('publishes each row once, with the load, the version and its time', async () => {
    const topic = new FakeTopic();
    const published = await publish(topic, snapshot());
    assert.deepEqual(published, { parts: PIECES, at: null, rows: ALL.length, rejected: 0 });
    assert.deepEqual(
      topic.changes.map(({ key }) => key),
      ALL,
    );
    assert.deepEqual(topic.changes[3], {
      op: 'snapshot',
      key: '3',
      before: null,
      after: employee(3),
      origin: 'delta',
      table: 'employees',
      position: 7,
      ts: 1000,
      tx: null,
      load: 'load-1',
    });
  });

  it('goes on behind what another process has published, and reads nothing of it', async () => {
    const topic = new FakeTopic();
    topic.position = { load: 'load-1', parts: 9, rows: 45, rejected: 0 };
    const source = snapshot();
    const published = await publish(topic, source);
    assert.deepEqual(published, { parts: PIECES, at: null, rows: ALL.length, rejected: 0 });
    assert.deepEqual(source.reads, [9, 10, 11]);
    assert.deepEqual(
      topic.changes.map(({ key }) => key),
      ALL.slice(45),
    );
  });

  it('tells how much is read, with what was published before, and no row twice', async () => {
    const topic = new FakeTopic();
    topic.position = { load: 'load-1', parts: 9, at: null, rows: 44, rejected: 1 };
    const read: number[] = [];
    const faults: Fault[] = ['none', 'before'];
    await publish(topic, snapshot(), {
      log: withFaults(topic.log(), () => faults.shift() ?? 'none'),
      onRead: (rows) => read.push(rows),
    });
    assert.deepEqual([read[0], read.at(-1)], [50, ALL.length]);
    assert.ok(read.length > PIECES - 9, 'it began again');
  });

  it('goes on in the midst of a piece that is more than may be held, and publishes part by part', async () => {
    const topic = new FakeTopic();
    const source = snapshot(undefined, 2);
    topic.position = { load: 'load-1', parts: 9, at: '2', rows: 47, rejected: 0 };
    const published = await publish(topic, source);
    assert.deepEqual(published, { parts: PIECES, at: null, rows: ALL.length, rejected: 0 });
    assert.deepEqual(
      topic.changes.map(({ key }) => key),
      ALL.slice(47),
    );
    assert.ok(topic.transactions.every(({ changes }) => changes.length <= 2));
  });

  it('publishes nothing once another target’s load has taken its place: it would replace the records of that', async () => {
    const topic = new FakeTopic();
    topic.position = progressPosition({ load: 'load-2', postgresId: 'replica' }, NOTHING);
    await assert.rejects(publish(topic, snapshot()), (error: OperatorError) => {
      assert.equal(error.code, 'LOAD_TOPIC_REPLACED');
      assert.match(error.message, /^The load load-2 of employees, begun by target replica, .* load load-1 /);
      return true;
    });
    assert.equal(topic.transactions.length, 0);
  });

  it('publishes nothing where the topic of positions was lost: what is published is not known', async () => {
    const topic = new FakeTopic();
    const log = topic.log();
    const lost = { ...log, open: () => log.open().then(() => null) };
    await assert.rejects(publish(topic, snapshot(), { log: lost }), { code: 'LOAD_TOPIC_REPLACED' });
    assert.equal(topic.transactions.length, 0);
  });

  it('sets aside rows that can never be one of the table, and counts them', async () => {
    const topic = new FakeTopic();
    const source = snapshot((piece, rows) =>
      piece !== 2
        ? rows
        : [
            ...rows.slice(2),
            { kind: 'row', row: employee(null) },
            { kind: 'invalid', code: 'VALUE_INVALID', message: 'column salary', payload: '["1","x","y"]' },
          ],
    );
    const published = await publish(topic, source);
    assert.deepEqual(published, { parts: PIECES, at: null, rows: ALL.length - 2, rejected: 2 });
    assert.deepEqual(
      topic.rejected.map(({ code }) => code),
      ['KEY_MISSING', 'VALUE_INVALID'],
    );
  });

  it('reads one piece ahead of the one in its transaction, and none while there is no room', async () => {
    const topic = new FakeTopic();
    const source = snapshot();
    let letGo: (() => void) | undefined;
    const running = publish(topic, source, {
      room: ({ parts }) => (parts === 5 ? new Promise((resolve) => (letGo = resolve)) : Promise.resolve()),
    });
    while (letGo === undefined) await tick();
    for (let turns = 0; turns < 50; turns++) await tick();
    assert.equal(topic.transactions.length, 4);
    assert.deepEqual(source.reads, [0, 1, 2, 3, 4, 5]);
    letGo();
    await running;
  });

  it('is over once another process has taken the load', async () => {
    const topic = new FakeTopic();
    const source = snapshot();
    let taken = false;
    await assert.rejects(
      publish(topic, source, {
        room: async ({ parts }) => {
          if (parts === 4 && !taken) {
            taken = true;
            await topic.log().open();
          }
        },
      }),
      FencedError,
    );
    assert.ok(topic.changes.length < ALL.length);
  });

  it('every row is on the topic once, whatever fails or answers late', async () => {
    const seed = Number(process.env['FAULT_SEED'] ?? Date.now() % 1_000_000);
    const random = seededRandom(seed);
    const kinds: readonly Fault[] = ['before', 'after', 'slow'];
    let faults = 0;
    for (let round = 0; round < 40; round++) {
      const topic = new FakeTopic();
      const source = snapshot(undefined, 2);
      const next = (): Fault => {
        if (random() > 0.08) return 'none';
        faults += 1;
        return kinds[Math.floor(random() * kinds.length)]!;
      };
      await publish(topic, source, { log: withFaults(topic.log(), next) });
      assert.deepEqual(
        topic.changes.map(({ key }) => key),
        ALL,
        `seed ${seed} (set FAULT_SEED), round ${round}`,
      );
    }
    assert.ok(faults > 20, `only ${faults} faults`);
  });
});
