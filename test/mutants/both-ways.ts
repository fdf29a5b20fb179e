import type { Mutant } from './mutant.ts';

const BOTH = 'test/service/both-ways.engine.test.ts';
const RESTARTED = [BOTH, 'sends nothing back after a restart of the service'] as const;

export const bothWaysMutants: readonly Mutant[] = [
  {
    promise: 'E1',
    name: 'does not mark what its sink writes to Postgres',
    file: 'src/connections/postgres/history-sink.ts',
    find: "RETURNING set_config('deltaferry.origin', $6, true),",
    put: "RETURNING set_config('deltaferry.sink', $6, true),",
    caughtBy: [
      BOTH,
      'carries inserts, updates, deletes and re-inserts made in delta across once, and never back',
    ],
  },
  {
    promise: 'E1',
    name: 'publishes a merge of its own that it has begun to read early',
    file: 'src/producers/delta-feed-catch-up.ts',
    find: 'early === null || isOwn(next) ? null',
    put: 'early === null ? null',
    caughtBy: [
      'test/producers/delta-feed.test.ts',
      'the next version is read while the history is asked, and dropped where it is our own',
    ],
  },
  {
    promise: 'E1',
    name: 'applies to Postgres what was made there',
    file: 'src/consumers/record-reader.ts',
    find: "if (change.origin === origin) return { kind: 'own' };",
    put: '',
    caughtBy: [
      BOTH,
      'carries inserts, updates, deletes and re-inserts made in postgres across once, and never back',
    ],
  },
  {
    promise: 'E1',
    name: 'takes a version that ends and the next one that begins for two changes',
    file: 'src/connections/postgres/log-sql.ts',
    find: 'GROUP BY xid, key COLLATE "C"\n',
    put: 'GROUP BY xid, key COLLATE "C", change_id\n',
    caughtBy: [BOTH, 'publishes each change with its origin, its operation and the row after it'],
  },
  {
    promise: 'E1',
    name: 'reads no more of a bulk change than fits into one answer',
    file: 'src/connections/postgres/log-sql.ts',
    find: 'SELECT count(*) <= ${most.rows} AND coalesce(',
    put: 'SELECT coalesce(',
    caughtBy: [BOTH, 'carries a bulk change made in postgres across once, and never back'],
  },
  {
    promise: 'E2',
    name: 'publishes the log from its beginning after a restart',
    file: 'src/producers/postgres-log-start.ts',
    find: 'start: stored === null ? LOG_START : parseLogPosition(stored, table)',
    put: 'start: LOG_START',
    caughtBy: RESTARTED,
  },
  {
    promise: 'E2',
    name: 'publishes the Delta table from its first version after a restart',
    file: 'src/producers/delta-feed-start.ts',
    find: 'return { start: known, moved: false, jump: null };',
    put: 'return { start: startOf(table.id), moved: false, jump: null };',
    caughtBy: RESTARTED,
  },
  {
    promise: 'E3',
    name: 'dates changes in Delta to the minute',
    file: 'src/connections/databricks/changes-sql.ts',
    find: 'unix_micros(c._commit_timestamp)',
    put: String.raw`unix_micros(date_trunc(\'MINUTE\', c._commit_timestamp))`,
    caughtBy: [
      BOTH,
      'lets a change made in delta win on both sides over one made in postgres that has crossed',
    ],
  },
];
