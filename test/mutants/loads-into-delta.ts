import type { Mutant } from './mutant.ts';

const PIECES = 'test/connections/postgres/table-pieces.engine.test.ts';
const MERGE = 'test/connections/databricks/load-merge.engine.test.ts';
const HANDOVER = 'test/producers/load-into-delta.test.ts';

/** B11 to B14 in docs/SPEC.md. */
export const intoDeltaMutants: readonly Mutant[] = [
  {
    promise: 'B11',
    name: 'passes over current versions whose end is written as infinity',
    file: 'src/connections/postgres/table-pieces-sql.ts',
    find: "`(${off} IS NULL OR ${off} = 'infinity'::timestamptz)`",
    put: '`${off} IS NULL`',
    caughtBy: [
      PIECES,
      'is the current version of each key of a history; what Delta cannot hold is told apart',
    ],
  },
  {
    promise: 'B11',
    name: 'reads the row twice that two pieces meet at',
    file: 'src/connections/postgres/table-pieces-sql.ts',
    find: ") > ${bound('after')}",
    put: ") >= ${bound('after')}",
    caughtBy: [PIECES, 'is every row of a plain one, exact, whatever is in its key and its values'],
  },
  {
    promise: 'B12',
    name: 'takes a merge that waits for a load for one in doubt',
    file: 'src/consumers/merge-hand.ts',
    find: 'this.#unsure = !held && !(error instanceof PoisonError);',
    put: 'this.#unsure = !(error instanceof PoisonError);',
    caughtBy: [
      'test/consumers/merge-held.test.ts',
      'merges wait while a load fills the table, say so once and not as a failure, then go on',
    ],
  },
  {
    promise: 'B12',
    name: 'merges changes into a table while a load fills it',
    file: 'src/connections/postgres/merge-marks.ts',
    find: ' AND o.held_by IS NULL',
    put: '',
    caughtBy: [
      'test/connections/postgres/merge-marks.engine.test.ts',
      'lets no merge of changes begin until it is done, and its own all the same',
    ],
  },
  {
    promise: 'B12',
    name: 'overwrites what others change in Delta between its question and its statement',
    file: 'src/connections/databricks/load-merge.ts',
    find: 'guarded: found !== null,',
    put: 'guarded: false,',
    caughtBy: [
      MERGE,
      'adds, corrects and removes; what others change after its version is theirs, whenever it comes; again it does nothing',
    ],
  },
  {
    promise: 'B13',
    name: 'merges files again that another process has merged',
    file: 'src/producers/load-into-delta.ts',
    find: 'if (!some.every((file) => file.merged)) {',
    put: '{',
    caughtBy: [HANDOVER, 'does not merge again what another process has merged'],
  },
  {
    promise: 'B13',
    name: 'takes a batch for staged of which it still holds rows',
    file: 'src/consumers/load-into-files.ts',
    find: 'last ? next : expected, last ? 0 : index + 1',
    put: 'next, 0',
    caughtBy: [
      'test/consumers/load-into-files.test.ts',
      'has every row in one file and in order, whatever fails, whoever goes on, however the topic is cut',
    ],
  },
  {
    promise: 'B13',
    name: 'lets a statement of a killed process land once another has gone on',
    file: 'src/connections/databricks/load-merge-sql.ts',
    find: 'e.sink = :sink AND e.epoch = :epoch)`',
    put: 'e.sink = :sink AND e.epoch >= :epoch)`',
    caughtBy: [MERGE, 'lands no statement once another process goes on, however late'],
  },
  {
    promise: 'B14',
    name: 'deletes in Delta though rows were set aside',
    file: 'src/producers/load-into-delta.ts',
    find: ' && load.rejectedRows === 0)',
    put: ')',
    caughtBy: [HANDOVER, 'removes nothing where rows were set aside: one of them may be of that key'],
  },
  {
    promise: 'B14',
    name: 'empties a table in Delta because the one in Postgres has no rows',
    file: 'src/producers/load-into-delta.ts',
    find: "if (staged.length === 0 && load.way === 'reconcile') throw nothingToLoad(load);",
    put: '',
    caughtBy: [HANDOVER, 'does not empty a table because the other one has no rows'],
  },
];
