import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { statusLines } from '../../src/cli/status-lines.ts';
import { UNSEEN } from '../support/load-seen.ts';
import type { LoadStatus, Status, TableStatus } from '../../src/service/status.ts';

const SINK = { group: 'g', movedAt: '2026-01-02T03:04:05Z', heldBy: null };

const LOAD: LoadStatus = {
  ...UNSEEN,
  id: '20260102t030405_abc',
  source: 'delta',
  way: 'fill',
  phase: 'snapshot',
  running: true,
  version: 12,
  totalRows: 2_000_000,
  stage: 'loading',
  read: 700_000,
  published: 650_000,
  rejected: 0,
  applied: 500_000,
  startedAt: '2026-01-02T03:04:05Z',
  error: null,
  perSecond: { read: 71_000, published: 64_000, applied: 52_000, compared: 0 },
  secondsLeft: 48,
};

const HANDED: LoadStatus = {
  ...LOAD,
  phase: 'handover',
  stage: 'handing over',
  read: 2_000_000,
  published: 2_000_000,
  applied: 2_000_000,
};

const employees: TableStatus = {
  table: 'employees',
  direction: 'both',
  topic: 'employees_changes',
  roles: {
    'delta-feed': { running: true, version: 12, latest: 15 },
    'postgres-log': { running: false, unpublished: 240, atLeast: false, partitions: 5, bytes: 1_234_567 },
    'postgres-history': { ...SINK, lag: { records: 8, exact: true } },
    'delta-merge': { ...SINK, lag: { records: 0, exact: true }, mergingSince: null },
  },
  load: LOAD,
};

/** The lines of one table with these differences. */
function lines(roles: TableStatus['roles'], load: LoadStatus | null = null): readonly string[] {
  return statusLines({ tables: [{ ...employees, roles, load }], problems: [] }).slice(1);
}

describe('the status in words', () => {
  it('has a line for each role and for the newest load', () => {
    assert.deepEqual(statusLines({ tables: [employees], problems: [] }), [
      'employees (both, topic employees_changes)',
      '  delta-feed        version 12 published, the newest is 15',
      '  postgres-log      240 rows of the log to publish; log of 5 partitions, 1.2 MB; nobody runs it',
      '  postgres-history  8 changes to apply; last moved at 2026-01-02T03:04:05Z',
      '  delta-merge       up to date; last moved at 2026-01-02T03:04:05Z',
      '  load              20260102t030405_abc from delta: snapshot, begun at 2026-01-02T03:04:05Z; version 12; 700,000 of 2,000,000 read (71,000/s), 650,000 published (64,000/s), 500,000 (25%) applied (52,000/s); about 48 s left',
    ]);
  });

  const cases: readonly (readonly [string, TableStatus['roles'], LoadStatus | null, string])[] = [
    ['what is not known', { 'delta-feed': null }, null, 'not known'],
    [
      'nothing yet',
      { 'delta-feed': { running: false, version: null, latest: null } },
      null,
      'nothing published yet; nobody runs it',
    ],
    [
      'a feed that is up to date',
      { 'delta-feed': { running: true, version: 3, latest: 3 } },
      null,
      'version 3 published, up to date',
    ],
    [
      'a long log',
      {
        'postgres-log': { running: true, unpublished: 10_000, atLeast: true, partitions: null, bytes: null },
      },
      null,
      'at least 10,000 rows of the log to publish',
    ],
    [
      'a sink that waits',
      { 'postgres-history': { ...SINK, heldBy: 'l1', lag: { records: 9_000, exact: false } } },
      null,
      'up to 9,000 changes to apply; waits for the load l1; last moved at 2026-01-02T03:04:05Z',
    ],
    [
      'a merge under way',
      { 'delta-merge': { ...SINK, movedAt: null, lag: null, mergingSince: '2026-01-02T03:04:06Z' } },
      null,
      'its lag is not known; has never run; merging since 2026-01-02T03:04:06Z',
    ],
    [
      'a load that stopped',
      {},
      {
        ...LOAD,
        version: null,
        totalRows: null,
        published: 0,
        applied: 0,
        running: false,
        perSecond: null,
        secondsLeft: null,
        error: 'the disk is full',
      },
      '20260102t030405_abc from delta: snapshot, begun at 2026-01-02T03:04:05Z; its version is not chosen yet; 0 published, 0 applied; nobody carries it out; stopped with: the disk is full',
    ],
    [
      'a load that is done',
      {},
      {
        ...LOAD,
        phase: 'live',
        applied: 2_000_000,
        rejected: 1,
        running: false,
        perSecond: null,
        secondsLeft: null,
        finishedAt: '2026-01-02T03:05:11Z',
        tookSeconds: 66.2,
      },
      '20260102t030405_abc from delta: live, begun at 2026-01-02T03:04:05Z; version 12; 2,000,000 rows loaded; 1 row set aside; ended at 2026-01-02T03:05:11Z after 1:06 min',
    ],
    [
      'a load that is moved into its table',
      {},
      { ...HANDED, stageSeconds: 12, secondsLeft: 7, perSecond: null },
      '20260102t030405_abc from delta: handover, begun at 2026-01-02T03:04:05Z; version 12; 2,000,000 of 2,000,000 read, 2,000,000 published, 2,000,000 (100%) applied; moving the rows into the table for 12 s; about 7 s left',
    ],
    [
      'a load that is compared with its table, and waits for people',
      {},
      {
        ...HANDED,
        source: 'topic',
        way: 'reconcile',
        compared: 1_500_000,
        heldUp: 2,
        secondsLeft: 8,
        perSecond: { read: 0, published: 0, applied: 0, compared: 60_000 },
      },
      '20260102t030405_abc from topic: handover, begun at 2026-01-02T03:04:05Z; version 12; 2,000,000 of 2,000,000 (100%) applied; 1,500,000 (75%) compared with the table (60,000/s); 2 ranges of keys wait for open transactions in Postgres; about 8 s left',
    ],
    [
      'a load that waits for changes of people’s',
      {},
      {
        ...HANDED,
        phase: 'snapshot',
        stage: 'merging',
        version: null,
        totalRows: null,
        read: 0,
        published: 0,
        applied: 0,
        stageSeconds: 61,
        secondsLeft: null,
        perSecond: null,
      },
      '20260102t030405_abc from delta: snapshot, begun at 2026-01-02T03:04:05Z; its version is not chosen yet; 0 read, 0 published, 0 applied; waiting for 1:01 min until Delta has what was changed in Postgres',
    ],
  ];
  for (const [what, roles, load, expected] of cases)
    it(what, () => {
      assert.deepEqual(
        lines(roles, load).map((line) => line.slice('  postgres-history  '.length)),
        [expected],
      );
    });

  it('says what did not answer, and what to do', () => {
    const problems: Status['problems'] = [
      { system: 'kafka', code: 'KAFKA_UNREACHABLE', message: 'No broker answers.', remedy: 'Start one.' },
    ];
    assert.deepEqual(statusLines({ tables: [], problems }).slice(1), [
      'error: kafka: No broker answers.',
      '→ Start one.',
      '  code: KAFKA_UNREACHABLE',
    ]);
  });
});
