import type { Mutant } from './mutant.ts';

/** H1, H2, H3 and H5 have theirs in test/scd/history.property.test.ts. */
export const historyMutants: readonly Mutant[] = [
  {
    promise: 'H4',
    name: 'ends a version and leaves it active',
    file: 'src/connections/postgres/history-sql.ts',
    find: 'SET ${off} = f.ts, ${active} = false FROM',
    put: 'SET ${off} = f.ts FROM',
    caughtBy: [
      'test/connections/postgres/history-random.engine.test.ts',
      'H1-H5 in the table itself: 400 random histories, one change at a time, path auto',
    ],
  },
  {
    promise: 'H4',
    name: 'moves the end of a version and leaves its flag as it was',
    file: 'src/connections/postgres/history-sql.ts',
    find: 'SET ${off} = f.until, ${active} = f.until IS NULL',
    put: 'SET ${off} = f.until',
    caughtBy: [
      'test/connections/postgres/history-random.engine.test.ts',
      'H1-H5 in the table itself: 400 random histories, one change at a time, path exact',
    ],
  },
  {
    promise: 'H4',
    name: 'writes an ended version as active',
    file: 'src/connections/postgres/history-sink.ts',
    find: "${to === null ? 't' : 'f'}",
    put: 't',
    caughtBy: [
      'test/connections/postgres/history-random.engine.test.ts',
      'H1-H5 in the table itself: 400 random histories, all at once, path auto',
    ],
  },
  {
    promise: 'H6',
    name: 'forgets deletes for which an upsert still lies on the topic',
    file: 'src/consumers/history-upkeep.ts',
    find: 'options.deletes.forget(2 * retentionMs)',
    put: 'options.deletes.forget(retentionMs)',
    caughtBy: [
      'test/consumers/history-upkeep.test.ts',
      'are kept for twice as long as the topic keeps its changes',
    ],
  },
  {
    promise: 'H6',
    name: 'forgets deletes though their topic keeps everything',
    file: 'src/consumers/history-upkeep.ts',
    find: 'if (retentionMs === null) return;',
    put: '',
    caughtBy: [
      'test/consumers/history-upkeep.test.ts',
      'are kept for ever where the topic keeps its changes for ever',
    ],
  },
  {
    promise: 'H6',
    name: 'ends because deletes could not be forgotten',
    file: 'src/consumers/history-upkeep.ts',
    find: 'if (!signal.aborted) options.onFailed(error);',
    put: 'throw error;',
    caughtBy: [
      'test/service/history-upkeep.engine.test.ts',
      'goes on applying where it cannot forget any, and says so',
    ],
    saying: /not within|ECONNREFUSED|refused by the test/,
  },
  {
    promise: 'H6',
    name: 'forgets deletes that a load under way may look up',
    file: 'src/connections/postgres/remembered-deletes.ts',
    find: 'AND NOT EXISTS (SELECT FROM deltaferry.loads WHERE target = $1 AND ${UNDER_WAY})',
    put: '',
    caughtBy: [
      'test/connections/postgres/remembered-deletes.engine.test.ts',
      'stay while a load of their table is under way, and go once it has ended',
    ],
  },
  {
    promise: 'H6',
    name: 'forgets deletes of other tables as well',
    file: 'src/connections/postgres/remembered-deletes.ts',
    find: 'WHERE target = $1 AND recorded_at <',
    put: "WHERE target >= '' AND recorded_at <",
    caughtBy: [
      'test/connections/postgres/remembered-deletes.engine.test.ts',
      'are forgotten once they are older than asked for: no younger ones, and none of another table',
    ],
  },
  {
    promise: 'H6',
    name: 'waits for whoever applies a change to forget its delete',
    file: 'src/connections/postgres/remembered-deletes.ts',
    find: 'FOR UPDATE SKIP LOCKED',
    put: 'FOR UPDATE',
    caughtBy: [
      'test/connections/postgres/remembered-deletes.engine.test.ts',
      'are passed over where somebody works on them: it waits for nobody',
    ],
    saying: /lock timeout/,
  },
];
