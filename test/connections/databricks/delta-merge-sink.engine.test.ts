import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Databricks } from '../../../src/connections/databricks/client.ts';
import { FencedError, TransientError } from '../../../src/errors.ts';
import type { MergeLedger, MergeTurn } from '../../../src/ports/merge-ledger.ts';
import type { MergeSink } from '../../../src/ports/merge-sink.ts';
import { PEOPLE, partOf, personChange } from '../../support/merge-sink-contract.ts';
import { until } from '../../support/until.ts';
import { MERGE, openMergeSite, tapped, type MergeSite } from './merge-sinks.ts';
import { slowMerges } from './slow-merges.ts';

let site: MergeSite;
before(async () => {
  site = await openMergeSite();
});
after(() => site?.close());

const forever = new AbortController().signal;
const lost = (): never => {
  throw new TransientError({ code: 'DATABRICKS_UNAVAILABLE', message: 'the answer was lost' });
};

const newTable = (): Promise<string> => site.warehouse.table('id BIGINT, name STRING');

async function stored(table: string): Promise<Record<number, unknown>> {
  const rows = await site.warehouse.sql(`SELECT id, name FROM ${table} ORDER BY id`);
  return Object.fromEntries(rows.map(({ id, name }) => [Number(id), name]));
}

async function positionOf(sink: MergeSink): Promise<bigint | undefined> {
  return (await sink.claim([0], () => 0n)).get(0);
}

async function pendingOf(table: string): Promise<unknown> {
  const { rows } = await site.database.pool.query<{ pending: string | null }>(
    'SELECT pending FROM deltaferry.merge_marks WHERE sink = $1',
    [table],
  );
  return rows[0]?.pending;
}

/** A ledger whose turns have a step in the place of one of theirs. */
function withTurn(ledger: MergeLedger, change: (turn: MergeTurn) => Partial<MergeTurn>): MergeLedger {
  return {
    ...ledger,
    async turn(signal) {
      const turn = await ledger.turn(signal);
      return { ...turn, ...change(turn) };
    },
  };
}

describe('a merge whose end nobody saw', () => {
  /** Each leaves the merge of key 1 → `merged`, key 2 deleted, unsettled; `landed` says what the truth is. */
  const accidents: readonly {
    name: string;
    landed: boolean;
    client?: (real: Databricks) => Databricks;
    ledger?: (real: MergeLedger) => MergeLedger;
  }[] = [
    {
      name: 'the answer was lost',
      landed: true,
      client: (real) => tapped(real, MERGE, { after: lost }),
    },
    {
      name: 'the request was lost',
      landed: false,
      client: (real) => tapped(real, MERGE, { before: lost }),
    },
    {
      name: 'the process died between the MERGE and its bookkeeping',
      landed: true,
      ledger: (real) => withTurn(real, () => ({ finish: async () => lost() })),
    },
    {
      name: 'the process died between the note and the MERGE',
      landed: false,
      ledger: (real) =>
        withTurn(real, (turn) => ({
          async begin(...args) {
            await turn.begin(...args);
            lost();
          },
        })),
    },
  ];

  for (const { name, landed, ...broken } of accidents)
    it(`${name}: settled by the next owner, who repeats nothing`, async () => {
      const table = await newTable();
      await site.warehouse.sql(`INSERT INTO ${table} VALUES (2, 'before'), (3, 'before')`);
      const first = site.sink(table, PEOPLE, {
        client: broken.client?.(site.warehouse.client) ?? site.warehouse.client,
        ledger: broken.ledger?.(site.ledger(table)) ?? site.ledger(table),
      });
      await positionOf(first);
      const batch = partOf(0, 0, 5, personChange(1, 'merged'), personChange(2), personChange(3, 'merged'));
      await assert.rejects(first.merge([batch], forever), { message: 'the answer was lost' });
      assert.notEqual(await pendingOf(table), null);

      // People go on: the same keys inserted anew, edited and deleted.
      if (landed) {
        await site.warehouse.sql(`INSERT INTO ${table} VALUES (2, 'person')`);
        await site.warehouse.sql(`UPDATE ${table} SET name = 'person' WHERE id = 1`);
        await site.warehouse.sql(`DELETE FROM ${table} WHERE id = 3`);
      }

      const next = site.sink(table, PEOPLE);
      assert.equal(await positionOf(next), landed ? 5n : 0n);
      assert.equal(await pendingOf(table), null);
      // The batch is delivered once more, to whoever has not heard of it.
      if (landed) {
        await assert.rejects(next.merge([batch], forever), FencedError);
        assert.deepEqual(await stored(table), { 1: 'person', 2: 'person' });
      } else {
        assert.deepEqual(await stored(table), { 2: 'before', 3: 'before' });
        await next.merge([batch], forever);
        assert.deepEqual(await stored(table), { 1: 'merged', 3: 'merged' });
      }
      assert.equal(await positionOf(next), 5n);
    });

  // Found by test/crash/lost-answers-to-delta: the epoch had been advanced, and the mark looked like one settled long ago.
  for (const [interrupted, matches] of [
    ['before the epoch was closed', /SET TBLPROPERTIES/],
    ['before the history was read', /^DESCRIBE HISTORY/],
  ] as const)
    it(`is found to have landed also if who settles it dies ${interrupted}`, async () => {
      const table = await newTable();
      const dying = site.sink(table, PEOPLE, {
        client: tapped(site.warehouse.client, MERGE, { after: lost }),
      });
      await positionOf(dying);
      const batch = partOf(0, 0, 5, personChange(1, 'merged'));
      await assert.rejects(dying.merge([batch], forever), { message: 'the answer was lost' });
      await site.warehouse.sql(`UPDATE ${table} SET name = 'person'`);
      for (let deaths = 0; deaths < 2; deaths++) {
        const client = tapped(site.warehouse.client, matches, { before: lost });
        await assert.rejects(positionOf(site.sink(table, PEOPLE, { client })), {
          message: 'the answer was lost',
        });
      }
      const next = site.sink(table, PEOPLE);
      assert.equal(await positionOf(next), 5n);
      await next.merge([partOf(0, 5, 6, personChange(2, 'next'))], forever);
      assert.deepEqual(await stored(table), { 1: 'person', 2: 'next' });
    });

  it('is settled by the same process at its next merge, too', async () => {
    const table = await newTable();
    let fail = true;
    const client = tapped(site.warehouse.client, MERGE, {
      after() {
        if (fail) lost();
      },
    });
    const sink = site.sink(table, PEOPLE, { client });
    await positionOf(sink);
    await assert.rejects(sink.merge([partOf(0, 0, 1, personChange(1, 'a'))], forever), TransientError);
    fail = false;
    await assert.rejects(sink.merge([partOf(0, 0, 1, personChange(1, 'a'))], forever), FencedError);
    await sink.merge([partOf(0, 1, 2, personChange(1, 'b'))], forever);
    assert.deepEqual([await positionOf(sink), await stored(table)], [2n, { 1: 'b' }]);
  });
});

describe('a former owner', () => {
  it('that lost its turn before its MERGE began changes nothing, however late', async () => {
    const table = await newTable();
    const reached = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const client = tapped(site.warehouse.client, MERGE, {
      before() {
        reached.resolve();
        return gate.promise;
      },
    });
    const deaf = withTurn(site.ledger(table), () => ({ lost: forever }));
    const zombie = site.sink(table, PEOPLE, { client, ledger: deaf });
    await positionOf(zombie);
    const late = zombie.merge([partOf(0, 0, 5, personChange(1, 'late'), personChange(2, 'late'))], forever);
    late.catch(() => {});
    await reached.promise;
    await cutOff(table);

    const next = site.sink(table, PEOPLE);
    assert.equal(await positionOf(next), 0n);
    await next.merge([partOf(0, 0, 4, personChange(1, 'next'))], forever);
    await next.merge([partOf(0, 4, 9, personChange(1, 'newer'))], forever);
    gate.resolve();
    await assert.rejects(late, { code: 'EPOCH_MOVED', kind: 'fenced' });
    assert.deepEqual([await positionOf(next), await stored(table)], [9n, { 1: 'newer' }]);
    assert.equal(await pendingOf(table), null);
  });

  it('whose MERGE is running when another takes over is not repeated and does not land', async () => {
    const table = await newTable();
    const slow = slowMerges(site.warehouse.client, site.warehouse);
    const deaf = withTurn(site.ledger(table), () => ({ lost: forever }));
    const zombie = site.sink(table, PEOPLE, { client: slow.client, ledger: deaf });
    await positionOf(zombie);
    const late = zombie.merge([partOf(0, 0, 5, personChange(1, 'late'))], forever);
    late.catch(() => {});
    await slow.running();
    await cutOff(table);

    const next = site.sink(table, PEOPLE);
    assert.equal(await positionOf(next), 0n);
    // It conflicts with the fence, tries again, and finds its epoch over.
    await assert.rejects(late, { code: 'EPOCH_MOVED' });
    assert.deepEqual(await stored(table), {});
    await next.merge([partOf(0, 0, 4, personChange(2, 'next'))], forever);
    assert.deepEqual([await positionOf(next), await stored(table)], [4n, { 2: 'next' }]);
  });

  it('that knows its turn is lost gives up at once', async () => {
    const table = await newTable();
    const reached = Promise.withResolvers<void>();
    const slow = slowMerges(site.warehouse.client, site.warehouse);
    const sink = site.sink(table, PEOPLE, {
      client: tapped(slow.client, MERGE, { before: () => reached.resolve() }),
    });
    await positionOf(sink);
    const late = sink.merge([partOf(0, 0, 5, personChange(1, 'late'))], forever);
    late.catch(() => {});
    await reached.promise;
    await cutOff(table);
    await assert.rejects(late, { code: 'MERGE_TURN_LOST', kind: 'transient' });
    await sink.merge([partOf(0, 0, 5, personChange(1, 'again'))], forever);
    assert.deepEqual(await stored(table), { 1: 'again' });
  });

  /** Ends the connection that holds the table's turn. */
  async function cutOff(table: string): Promise<void> {
    const { rowCount } = await site.database.pool.query(
      `SELECT pg_terminate_backend(pid) FROM pg_locks
       WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
         AND (classid::bigint << 32 | objid::bigint) = hashtextextended($1, 0)`,
      [`deltaferry merge ${table}`],
    );
    assert.equal(rowCount, 1);
  }
});

describe('a new owner', () => {
  it('waits for the turn of another one no longer than until it is told to stop', async () => {
    const table = await newTable();
    const turn = await site.ledger(table).turn(forever);
    const stop = new AbortController();
    const claiming = site.sink(table, PEOPLE).claim([0], () => 0n, stop.signal);
    await until('it waits', async () => {
      const { rows } = await site.database.pool.query(
        `SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
      );
      return rows.length === 1;
    });
    const reason = new Error('told to stop');
    stop.abort(reason);
    await assert.rejects(claiming, reason);
    await turn.release();
  });
});

describe('a clean hand-over', () => {
  it('reads no history and no epoch, and advances none', async () => {
    const table = await newTable();
    const one = site.sink(table, PEOPLE);
    const statements: string[] = [];
    const watched: Databricks = {
      ...site.warehouse.client,
      query(statement) {
        statements.push(statement.sql.split(' ')[0] ?? '');
        return site.warehouse.client.query(statement);
      },
    };
    const two = site.sink(table, PEOPLE, { client: watched });
    await one.claim([0, 1], () => 0n);
    await two.claim([], () => 0n);
    await two.merge([partOf(1, 0, 1, personChange(9, 'first of two'))], forever);
    statements.length = 0;
    for (let n = 0n; n < 3n; n++) {
      const sink = n % 2n === 0n ? two : one;
      assert.equal(await positionOf(sink), n);
      await sink.merge([partOf(0, Number(n), Number(n) + 1, personChange(1, `v${n}`))], forever);
    }
    assert.deepEqual(statements, ['MERGE', 'MERGE']);
    const commits = await site.commits(table);
    assert.deepEqual(
      commits.map(({ operation }) => operation),
      ['CREATE TABLE', 'MERGE', 'MERGE', 'MERGE', 'MERGE'],
    );
  });
});

describe('a merge that finds all of its rows there', () => {
  it('is done: a table of keys alone has nothing else to change', async () => {
    const table = await site.warehouse.table('id BIGINT');
    const keysOnly = { ...PEOPLE, columns: PEOPLE.columns.slice(0, 1) };
    const only = (id: number) => ({ ...personChange(id, ''), after: [id] });
    const sink = site.sink(table, keysOnly);
    await positionOf(sink);
    const first = await sink.merge([partOf(0, 0, 3, only(1), only(2))], forever);
    assert.equal(first.inserted, 2);
    const again = await sink.merge([partOf(0, 3, 5, only(1))], forever);
    assert.deepEqual([again.inserted, again.updated], [0, 0]);
    assert.equal(await pendingOf(table), null);
    const next = site.sink(table, keysOnly);
    assert.equal(await positionOf(next), 5n);
    await next.merge([partOf(0, 5, 6, only(2), only(3))], forever);
    const rows = await site.warehouse.sql(`SELECT id FROM ${table} ORDER BY id`);
    assert.deepEqual(
      rows.map(({ id }) => Number(id)),
      [1, 2, 3],
    );
    const { rows: marks } = await site.database.pool.query(
      'SELECT epoch FROM deltaferry.merge_marks WHERE sink = $1',
      [table],
    );
    assert.deepEqual(marks, [{ epoch: '0' }], 'nobody took it for a sign of another process');
  });
});

describe('other writers', () => {
  it('that commit to the table meanwhile make a merge begin again, and it is counted', async () => {
    const table = await newTable();
    await site.warehouse.sql(`INSERT INTO ${table} VALUES (1, 'old'), (2, 'old')`);
    const slow = slowMerges(site.warehouse.client, site.warehouse);
    const sink = site.sink(table, PEOPLE, { client: slow.client, random: () => 0 });
    await positionOf(sink);
    const merging = sink.merge([partOf(0, 0, 1, personChange(1, 'ours'))], forever);
    await slow.running();
    await site.warehouse.sql(`UPDATE ${table} SET name = 'theirs'`);
    assert.deepEqual(await merging, { inserted: 0, updated: 1, deleted: 0, conflicts: 1, sent: 'inline' });
    assert.deepEqual([await positionOf(sink), await stored(table)], [1n, { 1: 'ours', 2: 'theirs' }]);

    // Each wait is twice the one before it: of 50, 100 and 200 ms, as nothing is left to chance here.
    const begun: number[] = [];
    const client = tapped(site.warehouse.client, MERGE, {
      before() {
        begun.push(performance.now());
        if (begun.length < 4) throw new TransientError({ code: 'DELTA_CONFLICT', message: 'theirs' });
      },
    });
    const unlucky = site.sink(table, PEOPLE, { client, random: () => 0 });
    assert.equal(await positionOf(unlucky), 1n);
    const { conflicts } = await unlucky.merge([partOf(0, 1, 2, personChange(1, 'again'))], forever);
    assert.equal(conflicts, 3);
    const waits = begun.slice(1).map((at, n) => at - begun[n]!);
    assert.ok(
      waits.every((ms, n) => ms > 50 * 2 ** n - 5),
      waits.join(),
    );
  });

  it('that never let it through: it gives up for now, and nothing is left in doubt', async () => {
    const table = await newTable();
    await site.warehouse.sql(`INSERT INTO ${table} VALUES (1, 'old')`);
    const slow = slowMerges(site.warehouse.client, site.warehouse);
    const sink = site.sink(table, PEOPLE, { client: slow.client, conflictRetries: 0 });
    await positionOf(sink);
    const merging = sink.merge([partOf(0, 0, 1, personChange(1, 'ours'))], forever);
    merging.catch(() => {});
    await slow.running();
    await site.warehouse.sql(`UPDATE ${table} SET name = 'theirs'`);
    await assert.rejects(merging, { code: 'DELTA_CONFLICT', kind: 'transient' });
    assert.equal(await pendingOf(table), null);
    await sink.merge([partOf(0, 0, 1, personChange(1, 'ours'))], forever);
    assert.deepEqual(await stored(table), { 1: 'ours' });
  });

  it('of our own kind never conflict: one merges at a time', async () => {
    const table = await newTable();
    await site.warehouse.sql(`INSERT INTO ${table} SELECT id, 'old' FROM range(100)`);
    const replicas = [site.sink(table, PEOPLE), site.sink(table, PEOPLE), site.sink(table, PEOPLE)];
    const conflicts = await Promise.all(
      replicas.map(async (sink, partition) => {
        await sink.claim([partition], () => 0n);
        let count = 0;
        for (let n = 0; n < 2; n++) {
          const changes = Array.from({ length: 10 }, (_, at) => personChange(at * 3 + partition, `v${n}`));
          count += (await sink.merge([partOf(partition, n, n + 1, ...changes)], forever)).conflicts;
        }
        return count;
      }),
    );
    assert.deepEqual(conflicts, [0, 0, 0]);
    const rows = Object.values(await stored(table));
    assert.deepEqual([rows.filter((name) => name === 'v1').length, rows.length], [30, 100]);
  });
});

describe('the control schema', () => {
  it('restored from a backup: the history knows better, and nothing is merged twice', async () => {
    const table = await newTable();
    const { pool } = site.database;
    const before = site.sink(table, PEOPLE);
    await before.claim([0, 1], () => 0n);
    await before.merge(
      [partOf(0, 0, 3, personChange(1, 'a')), partOf(1, 0, 2, personChange(2, 'b'))],
      forever,
    );
    const saved = await pool.query<{ partition: number; next_offset: string }>(
      'SELECT partition, next_offset FROM deltaferry.offsets WHERE topic = $1',
      [table],
    );
    await before.merge([partOf(0, 3, 7, personChange(1, 'aa'))], forever);
    await before.merge([partOf(1, 2, 4, personChange(2, 'bb'))], forever);
    for (const { partition, next_offset } of saved.rows)
      await pool.query('UPDATE deltaferry.offsets SET next_offset = $1 WHERE topic = $2 AND partition = $3', [
        next_offset,
        table,
        partition,
      ]);
    const after = site.sink(table, PEOPLE);
    assert.deepEqual(
      await after.claim([0, 1], () => 0n),
      new Map([
        [0, 7n],
        [1, 4n],
      ]),
    );
  });

  it('lost altogether, with the epoch: the table still knows, also if the first to look dies', async () => {
    const table = await newTable();
    const before = site.sink(table, PEOPLE);
    await positionOf(before);
    await before.merge([partOf(0, 0, 3, personChange(1, 'a'))], forever);
    await site.warehouse.sql(
      `UPDATE ${site.warehouse.schema}.deltaferry_epochs SET epoch = 7 WHERE sink = '${table}'`,
    );
    await site.database.pool.query('DELETE FROM deltaferry.offsets WHERE topic = $1', [table]);
    await site.database.pool.query('DELETE FROM deltaferry.merge_marks WHERE sink = $1', [table]);
    const client = tapped(site.warehouse.client, /^DESCRIBE HISTORY/, { before: lost });
    await assert.rejects(positionOf(site.sink(table, PEOPLE, { client })), {
      message: 'the answer was lost',
    });
    const after = site.sink(table, PEOPLE);
    assert.equal(await positionOf(after), 3n);
    await after.merge([partOf(0, 3, 4, personChange(1, 'b'))], forever);
    assert.deepEqual(await stored(table), { 1: 'b' });
    // The ledger tells a process from before which epoch it is.
    await before.merge([partOf(0, 4, 5, personChange(1, 'c'))], forever);
    assert.deepEqual(await stored(table), { 1: 'c' });
  });

  it('reset on purpose, by a higher epoch: older marks do not count', async () => {
    const table = await newTable();
    const before = site.sink(table, PEOPLE);
    await positionOf(before);
    await before.merge([partOf(0, 0, 30, personChange(1, 'a'))], forever);
    await site.database.pool.query('DELETE FROM deltaferry.offsets WHERE topic = $1', [table]);
    await site.database.pool.query('UPDATE deltaferry.merge_marks SET epoch = epoch + 1 WHERE sink = $1', [
      table,
    ]);
    const after = site.sink(table, PEOPLE);
    assert.equal(await positionOf(after), 0n);
    await after.merge([partOf(0, 0, 1, personChange(1, 'b'))], forever);
    assert.deepEqual(await stored(table), { 1: 'b' });
  });
});

describe('a warehouse that does not keep the condition', () => {
  it('is refused with the remedy, and what was merged counts', async () => {
    const table = await newTable();
    const real = site.warehouse.client;
    const client: Databricks = {
      ...real,
      async query(statement) {
        const rows = await real.query(statement);
        if (!statement.sql.startsWith('DESCRIBE HISTORY')) return rows;
        return rows.map((row) => ({ ...row, operationParameters: { predicate: '["…"]' } }));
      },
    };
    const sink = site.sink(table, PEOPLE, { client });
    await positionOf(sink);
    await assert.rejects(sink.merge([partOf(0, 0, 1, personChange(1, 'a'))], forever), {
      code: 'MERGE_LEFT_NO_MARK',
      kind: 'operator',
      remedy: /DESCRIBE HISTORY/,
    });
    assert.deepEqual([await positionOf(sink), await stored(table)], [1n, { 1: 'a' }]);
  });
});
