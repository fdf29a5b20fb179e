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
];
