import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createLoadFiles } from '../../../src/connections/postgres/load-files.ts';
import { createLoads } from '../../../src/connections/postgres/loads.ts';
import { createMergeLedger } from '../../../src/connections/postgres/merge-marks.ts';
import { migrate } from '../../../src/connections/postgres/migrate.ts';
import { createDatabase, type TestDatabase } from './database.ts';

const MERGERS = { group: 'mergers', topic: 'changes' };

/** What a load from Postgres does for a sink into Delta that retention has left behind, or that is merely slow. */
describe('a load from Postgres into Delta', () => {
  let database: TestDatabase;
  before(async () => {
    database = await createDatabase();
    await migrate(database.pool);
  });
  after(() => database?.drop());

  it('moves the sink past what the topic has dropped, and past what its rows have', async () => {
    const { pool, url } = database;
    const ledger = createMergeLedger({ pool, direct: { url }, sink: 'employees', ...MERGERS });
    const at = async (): Promise<(bigint | undefined)[]> => {
      const { offsets } = await ledger.claim(new Map());
      return [0, 1, 2].map((partition) => offsets.get(partition));
    };
    try {
      await ledger.claim(
        new Map([
          [0, 3n],
          [1, 15n],
          [2, 60n],
        ]),
      );
      const loads = createLoads({
        pool,
        name: 'employees',
        target: 'main.employees',
        columns: [],
        topic: 'loads',
        captured: false,
        consumers: { group: 'history', topic: 'changes' },
        intoDelta: { mergers: MERGERS, holdsRows: async () => true },
      });
      const load = await loads.begin({ id: 'one', startOffsets: [0n], changesLow: [10n, 10n, 10n] });
      assert.deepEqual(await at(), [10n, 15n, 60n]);
      assert.equal(await ledger.heldBy(), 'one');
      await loads.pinned('one', { tableId: 't', version: 3, ts: 1, rows: 0 }, [40n, 41n, 42n]);
      await loads.published('one', [0n]);
      await createLoadFiles(pool, load).finish();
      // Never back: what was merged after the rows were read is not merged again.
      assert.deepEqual(await at(), [40n, 41n, 60n]);
      assert.equal(await ledger.heldBy(), null);
    } finally {
      await ledger.close();
    }
  });
});
