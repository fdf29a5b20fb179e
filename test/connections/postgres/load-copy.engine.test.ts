import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { copied } from '../../../src/connections/postgres/load-copy.ts';
import { migrate } from '../../../src/connections/postgres/migrate.ts';
import { inTransaction } from '../../../src/connections/postgres/transaction.ts';
import { createDatabase, type TestDatabase } from './database.ts';

let database: TestDatabase;
before(async () => {
  database = await createDatabase();
  await migrate(database.pool);
});
after(() => database?.drop());

const COPY = {
  recordsOf: 'theirs',
  pinned: { tableId: 'table-1', version: 7, ts: 1_700_000_000_000_000, rows: 3 },
  rows: 2,
  rejected: 1,
  startOffsets: [0n],
  endOffsets: [9n],
  liveOffsets: [4n],
};

const phaseOf = async (id: string): Promise<unknown> =>
  (await database.pool.query('SELECT phase, version FROM deltaferry.loads WHERE id = $1', [id])).rows[0];

describe('what another database’s load has left on the topic', () => {
  it('is noted of a load that was just begun, and of no other', async () => {
    for (const phase of ['snapshot', 'handover', 'live', 'failed']) {
      await database.pool.query(
        'INSERT INTO deltaferry.loads (id, name, target, topic, phase) VALUES ($1, $1, $1, $1, $1)',
        [phase],
      );
      const noting = inTransaction(database.pool, { doing: 'testing' }, (client) =>
        copied(client, phase, COPY),
      );
      if (phase === 'snapshot') {
        await noting;
        assert.deepEqual(await phaseOf(phase), { phase: 'handover', version: '7' });
      } else {
        await assert.rejects(noting, { code: 'LOAD_ENDED' });
        assert.deepEqual(await phaseOf(phase), { phase, version: null });
      }
    }
  });
});
