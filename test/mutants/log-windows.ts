import type { Mutant } from './mutant.ts';

const SESSION = 'src/producers/postgres-log-session.ts';
const LOG_SQL = 'src/connections/postgres/log-sql.ts';
const PARTITIONS = 'src/connections/postgres/log-partitions.ts';
const LOOP = 'test/producers/postgres-log.test.ts';
const CAPTURED = 'test/producers/log-capture.engine.test.ts';
const UPKEEP = 'test/producers/log-upkeep.engine.test.ts';
const FAULTS = [
  'test/producers/postgres-log.faults.test.ts',
  'every change is on the topic exactly once and per key in order, whatever fails, dies or answers late',
] as const;

/** P8 to P11: what of the log is read and published, and what is dropped. */
export const logWindowMutants: readonly Mutant[] = [
  {
    promise: 'P8',
    name: 'notes only whole windows as published',
    file: SESSION,
    find: 'await send({ acknowledged: from, target: to, last: page.last, proof',
    put: 'await send({ acknowledged: from, target: null, last: 0n, proof',
    caughtBy: FAULTS,
  },
  {
    promise: 'P8',
    name: 'loses what was open when the window before began',
    file: LOG_SQL,
    find: "${part('xid = ANY ((SELECT from_open FROM bounds)::xid8[])')}",
    put: "${part('false')}",
    caughtBy: [CAPTURED, 'one that stays open delays its own rows alone, and loses none'],
    saying: /Not within 10000 ms: 8 changes, of which there are 6/,
  },
  {
    promise: 'P8',
    name: 'reads what was committed since it looked, and reads it again in the next window',
    file: LOG_SQL,
    find: 'WHERE ${which} AND pg_visible_in_snapshot(xid, (SELECT to_snapshot FROM bounds))`;',
    put: 'WHERE ${which}`;',
    caughtBy: [
      'test/producers/log-writers.engine.test.ts',
      '16 writers with long transactions: every committed change exactly once, and per key in order',
    ],
    saying: /changes are not one record/,
  },
  {
    promise: 'P8',
    name: 'publishes a window in the order in which its transactions began',
    file: LOG_SQL,
    find: '  ORDER BY change_id`;',
    put: '  ORDER BY xid, change_id`;',
    caughtBy: [
      CAPTURED,
      'the older transaction writes a key last: it is last on the topic, also within one window',
    ],
  },
  {
    promise: 'P8',
    name: 'looks before it holds the log, which a former leader still tidies',
    file: LOG_SQL,
    find: '`LOCK TABLE ${log} IN ACCESS SHARE MODE`',
    put: "''",
    caughtBy: [
      UPKEEP,
      'rows that a former leader carries over just as a large window begins are in the window',
    ],
  },
  {
    promise: 'P9',
    name: 'publishes every step of a transaction',
    file: LOG_SQL,
    find: 'GROUP BY xid, key COLLATE "C"\n',
    put: 'GROUP BY xid, key COLLATE "C", change_id\n',
    caughtBy: [
      CAPTURED,
      'the net effect of a transaction: there and back is nothing, insert and delete is nothing, three updates are one',
    ],
  },
  {
    promise: 'P9',
    name: 'takes the last image that was logged for the last one there was',
    file: LOG_SQL,
    find: `CASE WHEN steps = 1 THEN befores[1] ELSE ends[1] END AS before,
             CASE WHEN steps = 1 THEN afters[1] ELSE ends[2] END AS after`,
    put: 'befores[1] AS before, afters[steps::int] AS after',
    caughtBy: [
      CAPTURED,
      "a user's own AFTER ROW trigger that updates the same row again: one change, from the first image to the last",
    ],
  },
  {
    promise: 'P9',
    name: 'reads only rows behind the page at which it resumes',
    file: LOG_SQL,
    find: 'FROM logged ${condition}\n',
    put: 'FROM (SELECT * FROM logged WHERE change_id > ${after}::bigint) logged ${condition}\n',
    caughtBy: [
      CAPTURED,
      'a page break never splits a net change, nor turns an update into a delete and an insert',
    ],
  },
  {
    promise: 'P10',
    name: 'reads a window of any size before it sends it',
    file: SESSION,
    find: 'if (!isFull()) continue;',
    put: 'if (pages.length > 0) continue;',
    caughtBy: [LOOP, 'reads at most one batch ahead of the transaction in hand'],
  },
  {
    promise: 'P10',
    name: 'reads on while a transaction takes its time',
    file: 'src/producers/publisher.ts',
    find: 'await inHand;\n      check();\n      inHand = publish(batch);',
    put: 'check();\n      inHand = inHand.then(() => publish(batch));',
    caughtBy: [LOOP, 'reads at most one batch ahead of the transaction in hand'],
  },
  {
    promise: 'P10',
    name: 'sends wide rows together, however many bytes they have',
    file: SESSION,
    find: ' || bytes >= options.maxBatchBytes',
    put: '',
    caughtBy: [CAPTURED, 'rows of 1 MB pass, several to a window'],
  },
  {
    promise: 'P10',
    name: 'reads pages of wide rows, however many bytes they have',
    file: 'src/connections/postgres/log-pages.ts',
    find: ' || bytes >= limits.bytes',
    put: '',
    caughtBy: [CAPTURED, 'rows of 1 MB pass, several to a window'],
  },
  {
    promise: 'P11',
    name: 'drops partitions by a position that only lies in memory',
    file: SESSION,
    find: 'const durable = await windows.settle();',
    put: 'const durable = windows.acknowledged();',
    caughtBy: [
      LOOP,
      'windows without a change move the position in memory, which is written before partitions are dropped by it',
    ],
  },
  {
    promise: 'P11',
    name: 'drops what is committed, published or not',
    file: 'src/connections/postgres/log-upkeep.ts',
    find: 'await dropAcknowledged(dispensable);',
    put: 'await dropAcknowledged(await partitions.snapshot());',
    caughtBy: [UPKEEP, 'what a stopped poller has not acknowledged is kept, however long it is away'],
  },
  {
    promise: 'P11',
    name: 'looks for ranges that another replica has dropped',
    file: 'src/connections/postgres/log-upkeep.ts',
    find: 'forgetGone(ranges);',
    put: '',
    caughtBy: [UPKEEP, 'a range that another replica has dropped meanwhile is nobody’s any more'],
  },
  {
    promise: 'P11',
    name: 'drops a range without a look at what is in it',
    file: PARTITIONS,
    find: 'if (!(await isAcknowledged(client, range(n), acknowledged))) continue;',
    put: '',
    caughtBy: [
      UPKEEP,
      'a row that is committed but not acknowledged keeps its range, also where ids and snapshots say otherwise',
    ],
  },
  {
    promise: 'P11',
    name: 'makes writers wait while it waits for a lock',
    file: PARTITIONS,
    find: 'const LOCK_TIMEOUT_MS = 50;',
    put: 'const LOCK_TIMEOUT_MS = 3_000;',
    caughtBy: [
      UPKEEP,
      'a range that an older transaction still writes to stays, its writers are not held up, nothing is lost',
    ],
    saying: /a writer waited|Not within 10000 ms: many attempts to drop it/,
  },
  {
    promise: 'P11',
    name: 'makes a log that has no place for ids beyond its ranges',
    file: 'src/connections/postgres/capture-ddl.ts',
    find: '`CREATE TABLE ${inSchema(defaultPartition)} PARTITION OF ${log} DEFAULT`,',
    put: '',
    caughtBy: [
      UPKEEP,
      'ids beyond every range: nothing fails, all is published, ranges are made again and the default is emptied',
    ],
    saying: /no partition of relation .* found for row/,
  },
  {
    promise: 'P11',
    name: 'empties the default partition, whatever is in it',
    file: PARTITIONS,
    find: 'await putBack(client, log, carried);',
    put: '',
    caughtBy: [
      UPKEEP,
      'rows of the default that are not acknowledged are carried over to their range as they were',
    ],
  },
  {
    promise: 'P11',
    name: 'adds ranges under a statement that does not know them',
    file: PARTITIONS,
    find: 'await client.query(`LOCK TABLE ONLY ${log} IN SHARE ROW EXCLUSIVE MODE`);',
    put: '',
    caughtBy: [
      UPKEEP,
      'a long statement that runs past the ranges it knows does not fail because others are made meanwhile',
    ],
    saying: /violates partition constraint/,
  },
];
