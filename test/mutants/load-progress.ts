import type { Mutant } from './mutant.ts';

const NOTES = 'test/producers/load-notes.test.ts';

export const loadProgressMutants: readonly Mutant[] = [
  {
    promise: 'B8',
    name: 'keeps the last rows that it has loaded to itself, so that the publisher waits for them',
    file: 'src/flow/at-most-every.ts',
    find: 'if (timer === null) due();',
    put: 'if (timer === null) due(); else waiting = null;',
    caughtBy: [
      'test/flow/at-most-every.test.ts',
      'are the newest where they come sooner, and the last comes though nothing follows it',
    ],
  },
  {
    promise: 'B10',
    name: 'goes on with a load and leaves what it stopped with',
    file: 'src/producers/backfill.ts',
    find: 'if (begun.error !== null && isUnderWay(begun.phase))',
    put: "if (begun.error === 'nothing')",
    caughtBy: [NOTES, 'is no longer said once somebody goes on with it'],
  },
  {
    promise: 'B10',
    name: 'begins the hand-over before it has noted that',
    file: 'src/producers/load-notes.ts',
    find: 'await notes.end();\n        await handover.fill(load);',
    put: 'await handover.fill(load);',
    caughtBy: [NOTES, 'is there before the hand-over keeps the row to itself'],
  },
  {
    promise: 'B10',
    name: 'has no time left once all is loaded that is to be moved then',
    file: 'src/flow/load-estimate.ts',
    find: '/ appliedPerSecond + handover;',
    put: '/ appliedPerSecond;',
    caughtBy: [
      'test/service/load-status.test.ts',
      'that is loading has a time left in which the hand-over is, too',
    ],
  },
  {
    promise: 'B10',
    name: 'counts rows as read once more where it begins again',
    file: 'src/producers/publish-and-load.ts',
    find: 'onRead: (read) => tell({ read }),',
    put: 'onRead: (read) => tell({ read: progress().read + read }),',
    caughtBy: ['test/producers/publish-and-load.test.ts', 'tells what is read, published and applied of all'],
  },
  {
    promise: 'B10',
    name: 'says that a load has ended when its rows began to move',
    file: 'src/connections/postgres/load-handover.ts',
    find: 'await client.query(ENDED_NOW, [load.id]);',
    put: '',
    caughtBy: [
      'test/cli/load-status.engine.test.ts',
      'has read, published and applied so many rows, is moved into its table, and has ended',
    ],
    saying: /it has not ended before its rows were moved/,
  },
];
