import type { Mutant } from './mutant.ts';

const SINK = 'test/connections/databricks/delta-merge-sink.engine.test.ts';
const FENCE = 'test/connections/databricks/delta-merge-fence.engine.test.ts';
const LEDGER = 'test/connections/postgres/merge-marks.engine.test.ts';
const MARK = 'test/connections/databricks/merge-mark.test.ts';

/** M12 to M17 in docs/SPEC.md: whose turn it is, and which merges have landed. */
export const mergeTableMutants: readonly Mutant[] = [
  {
    promise: 'M12',
    name: 'takes a merge whose end nobody saw for one that did not land',
    file: 'src/connections/databricks/merge-settlement.ts',
    find: 'await turn.raise(await history.unknownTo(before, signal));',
    put: '',
    caughtBy: [SINK, 'the answer was lost: settled by the next owner, who repeats nothing'],
  },
  {
    promise: 'M12',
    name: 'takes a merge for landed because it was noted',
    file: 'src/connections/databricks/merge-settlement.ts',
    find: 'await turn.forget(before.pending.mark);',
    put: `{
      const noted = [...before.pending.mark.matchAll(/(\\d+):(\\d+)/g)];
      const next = noted.map(([, partition, offset]) => [Number(partition), BigInt(offset)]);
      await turn.finish(before.pending.mark, new Map(next));
    }`,
    caughtBy: [SINK, 'the request was lost: settled by the next owner, who repeats nothing'],
  },
  {
    promise: 'M12',
    name: 'calls older merges settled before what it found of them counts',
    file: 'src/connections/databricks/merge-settlement.ts',
    find: 'await turn.raise(await history.unknownTo(before, signal));',
    put: `if (epoch > before.epoch) await turn.advance(epoch);
    await turn.raise(await history.unknownTo(before, signal));`,
    caughtBy: [SINK, 'is found to have landed also if who settles it dies before the history was read'],
  },
  {
    promise: 'M12',
    name: 'does not settle the merge whose answer it has lost itself',
    file: 'src/connections/databricks/merge-settlement.ts',
    find: 'compared && pending === null;',
    put: 'compared;',
    caughtBy: [SINK, 'is settled by the same process at its next merge, too'],
    saying: /OFFSET_MOVED/,
  },
  {
    promise: 'M12',
    name: 'moves an offset back with the end of a merge',
    file: 'src/connections/postgres/merge-marks.ts',
    find: ' AND o.next_offset < given.next`',
    put: '`',
    caughtBy: [LEDGER, 'moves the offsets with the end of a merge, never back, and once'],
  },
  {
    promise: 'M12',
    name: 'moves the offsets for a merge that somebody else has settled',
    file: 'src/connections/postgres/merge-marks.ts',
    find: 'WHERE EXISTS (SELECT FROM done) AND o.group_id = $2',
    put: 'WHERE o.group_id = $2',
    caughtBy: [LEDGER, 'moves the offsets with the end of a merge, never back, and once'],
  },
  {
    promise: 'M13',
    name: 'closes an epoch for those alone who begin later',
    file: 'src/connections/databricks/merge-epoch.ts',
    find: 'await set(epoch, signal);\n      await',
    put: 'await set(epoch, signal);\n      return;\n      await',
    caughtBy: [FENCE, 'that is running when the epoch is closed fails, and changes nothing'],
  },
  {
    promise: 'M13',
    name: 'merges in an epoch that is over',
    file: 'src/connections/databricks/merge-sql.ts',
    find: 'e.epoch = :epoch',
    put: 'e.epoch >= :epoch',
    caughtBy: [FENCE, 'that begins after the epoch was closed changes nothing and commits nothing'],
  },
  {
    promise: 'M13',
    name: 'takes a merge for done that its epoch kept from changing anything',
    file: 'src/connections/databricks/delta-merge-sink.ts',
    find: 'await refuseFenced(counts, epoch, stop);',
    put: '',
    caughtBy: [SINK, 'that lost its turn before its MERGE began changes nothing, however late'],
  },
  {
    promise: 'M13',
    name: 'looks whether a merge landed without ending it first',
    file: 'src/connections/databricks/merge-settlement.ts',
    find: 'await agreedEpoch(before, signal) : await closed(before.epoch, signal);',
    put: 'await agreedEpoch(before, signal) : before.epoch;',
    caughtBy: [SINK, 'whose MERGE is running when another takes over is not repeated and does not land'],
  },
  {
    promise: 'M13',
    name: 'lets its statement go on though it knows that its turn is lost',
    file: 'src/connections/databricks/delta-merge-sink.ts',
    find: 'const stop = AbortSignal.any([signal, turn.lost]);',
    put: 'const stop = signal;',
    caughtBy: [SINK, 'that knows its turn is lost gives up at once'],
  },
  {
    promise: 'M13',
    name: 'notes a merge by a connection that does not hold the turn',
    file: 'src/connections/postgres/merge-marks.ts',
    find: 'const begun = await run(client, {',
    put: 'const begun = await run(pool, {',
    caughtBy: [
      LEDGER,
      'is lost with its connection: its holder hears of it, writes nothing more, and another goes on',
    ],
  },
  {
    promise: 'M13',
    name: 'takes a merge that changed nothing for one of an epoch that is over',
    file: 'src/connections/databricks/delta-merge-sink.ts',
    find: 'if (counts.affected > 0 || (await fence.read(signal)) === epoch) return;',
    put: 'if (counts.affected > 0) return;',
    caughtBy: [SINK, 'is done: a table of keys alone has nothing else to change'],
    saying: /EPOCH_MOVED/,
  },
  {
    promise: 'M14',
    name: 'gives the turn to all who ask for it',
    file: 'src/connections/postgres/merge-turns.ts',
    find: 'SELECT pg_advisory_lock(',
    put: 'SELECT pg_advisory_lock_shared(',
    caughtBy: [LEDGER, 'is one replica’s at a time, and the next has it as soon as it is released'],
  },
  {
    promise: 'M14',
    name: 'gives back one hold of the turn, though a wait that timed out left another',
    file: 'src/connections/postgres/merge-turns.ts',
    find: "query('SELECT pg_advisory_unlock_all()')",
    put: 'query(`SELECT pg_advisory_unlock(${LOCK_KEY})`, [key])',
    caughtBy: [
      LEDGER,
      'is given back whole, also where Postgres granted it to a wait just as that wait timed out',
    ],
  },
  {
    promise: 'M14',
    name: 'asks the table at each merge, also after a clean hand-over',
    file: 'src/connections/databricks/merge-settlement.ts',
    find: 'compared = true;',
    put: '',
    caughtBy: [SINK, 'reads no history and no epoch, and advances none'],
  },
  {
    promise: 'M15',
    name: 'gives up at the first conflict',
    file: 'src/connections/databricks/delta-merge-sink.ts',
    find: 'conflicts === conflictRetries ||',
    put: 'conflicts <= conflictRetries ||',
    caughtBy: [SINK, 'that commit to the table meanwhile make a merge begin again, and it is counted'],
    saying: /DELTA_CONFLICT/,
  },
  {
    promise: 'M15',
    name: 'begins again as soon after many conflicts as after one',
    file: 'src/connections/databricks/delta-merge-sink.ts',
    find: 'CONFLICT_WAIT_MS * 2 ** conflicts *',
    put: 'CONFLICT_WAIT_MS *',
    caughtBy: [SINK, 'that commit to the table meanwhile make a merge begin again, and it is counted'],
  },
  {
    promise: 'M15',
    name: 'does not count how often it had to begin again',
    file: 'src/connections/databricks/delta-merge-sink.ts',
    find: 'return { counts: await statement.run(merge), conflicts };',
    put: 'return { counts: await statement.run(merge), conflicts: 0 };',
    caughtBy: [SINK, 'that commit to the table meanwhile make a merge begin again, and it is counted'],
  },
  {
    promise: 'M15',
    name: 'leaves in doubt what others have kept from landing',
    file: 'src/connections/databricks/delta-merge-sink.ts',
    find: 'await turn.forget(merge.mark).catch(() => {});',
    put: '',
    caughtBy: [SINK, 'that never let it through: it gives up for now, and nothing is left in doubt'],
  },
  {
    promise: 'M16',
    name: 'rounds the offsets of a mark beyond 2^53',
    file: 'src/connections/databricks/merge-mark.ts',
    find: 'return [Number(partition), BigInt(next)];',
    put: 'return [Number(partition), BigInt(Number(next))];',
    caughtBy: [MARK, 'comes back whole from the condition of a commit: employees'],
  },
  {
    promise: 'M16',
    name: 'finds no mark of a sink whose name has a dot',
    file: 'src/connections/databricks/commit-mark.ts',
    find: String.raw`const MARK = /deltaferry\/[^)'"\]\\]+/;`,
    put: String.raw`const MARK = /deltaferry\/[\w%-]+ e\d+ [\d:,]+/;`,
    caughtBy: [MARK, 'comes back whole from the condition of a commit: pg-2/hr.employees'],
  },
  {
    promise: 'M16',
    name: 'merges on though the warehouse does not keep its marks',
    file: 'src/connections/databricks/delta-merge-sink.ts',
    find: 'await history.mustShow(mark, stop);',
    put: '',
    caughtBy: [SINK, 'is refused with the remedy, and what was merged counts'],
  },
  {
    promise: 'M16',
    name: 'does not count a merge that left no mark',
    file: 'src/connections/databricks/delta-merge-sink.ts',
    find: `await turn.finish(mark, next);
    if (!markSeen && counts.affected > 0) {
      await history.mustShow(mark, stop);
      markSeen = true;
    }`,
    put: `if (!markSeen && counts.affected > 0) {
      await history.mustShow(mark, stop);
      markSeen = true;
    }
    await turn.finish(mark, next);`,
    caughtBy: [SINK, 'is refused with the remedy, and what was merged counts'],
  },
  {
    promise: 'M17',
    name: 'brings a restored control schema up to date by the newest merge alone',
    file: 'src/connections/databricks/merge-history.ts',
    find: 'if (next > (offsets.get(partition) ?? -1n)) offsets.set(partition, next);',
    put: 'if (next > (offsets.get(partition) ?? -1n)) offsets.set(partition, next);\n    return { offsets, complete: true };',
    caughtBy: [SINK, 'restored from a backup: the history knows better, and nothing is merged twice'],
  },
  {
    promise: 'M17',
    name: 'goes by the epoch of a lost control schema, not by that of the table',
    file: 'src/connections/databricks/merge-settlement.ts',
    find: 'closed(inDelta !== null && inDelta > epoch ? inDelta : epoch, signal);',
    put: 'closed(epoch, signal);',
    caughtBy: [
      SINK,
      'lost altogether, with the epoch: the table still knows, also if the first to look dies',
    ],
    saying: /EPOCH_MOVED/,
  },
  {
    promise: 'M17',
    name: 'counts the merges of before a reset',
    file: 'src/connections/databricks/merge-history.ts',
    find: 'mark.epoch < ledger.epoch || isCovered(',
    put: 'isCovered(',
    caughtBy: [SINK, 'reset on purpose, by a higher epoch: older marks do not count'],
  },
];
