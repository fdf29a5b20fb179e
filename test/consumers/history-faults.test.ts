import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createPostgresHistory } from '../../src/consumers/postgres-history.ts';
import type { BatchOutcome, StreamHandler, StreamRecord } from '../../src/ports/record-stream.ts';
import {
  batchOf,
  EMPLOYEES,
  fakeDeadLetters,
  fakeHistory,
  NOW,
  record,
  schemas,
  withFaults,
  type Fault,
  type RecordKind,
} from './fakes.ts';

const PARTITIONS = [0, 1] as const;
const keepAlive = (): Promise<void> => Promise.resolve();
const poisonKinds: readonly RecordKind[] = [
  'garbage',
  'unknown schema',
  'no key',
  'wrong key',
  'future',
  'unstorable',
];

interface Scenario {
  readonly topic: readonly (readonly StreamRecord[])[];
  readonly expected: readonly (readonly bigint[])[];
  readonly poison: readonly (readonly bigint[])[];
}

/** Records with gaps between their offsets, as control records leave them. */
const scenarios: fc.Arbitrary<Scenario> = fc
  .array(
    fc.array(
      fc.record({
        kind: fc.oneof(
          { weight: 12, arbitrary: fc.constant<RecordKind>('good') },
          { weight: 1, arbitrary: fc.constant<RecordKind>('own') },
          { weight: 3, arbitrary: fc.constantFrom(...poisonKinds) },
        ),
        key: fc.integer({ min: 0, max: 4 }),
        gap: fc.constantFrom(1, 1, 1, 2),
      }),
      { minLength: 1, maxLength: 25 },
    ),
    { minLength: 2, maxLength: 2 },
  )
  .map((partitions) => {
    const laid = partitions.map((records) => {
      let offset = -1;
      return records.map(({ kind, key, gap }) => {
        offset += gap;
        return { kind, record: record(kind, key, offset) };
      });
    });
    const offsets = (keep: (kind: RecordKind) => boolean): bigint[][] =>
      laid.map((records) => records.filter(({ kind }) => keep(kind)).map((each) => each.record.offset));
    return {
      topic: laid.map((records) => records.map((each) => each.record)),
      expected: offsets((kind) => kind === 'good'),
      poison: offsets((kind) => poisonKinds.includes(kind)),
    };
  });

const faults = fc.array(
  fc.constantFrom<Fault>('none', 'none', 'none', 'none', 'before', 'after', 'after', 'operator', 'slow'),
  { maxLength: 60 },
);

type Step =
  | { readonly kind: 'deliver'; readonly partition: 0 | 1; readonly size: number }
  | { readonly kind: 'rebalance'; readonly partition: 0 | 1 }
  /** The former owner works on what it had in hand while the new one goes on. */
  | { readonly kind: 'zombie'; readonly partition: 0 | 1; readonly size: number };

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    kind: fc.constantFrom<Step['kind']>('deliver', 'deliver', 'deliver', 'rebalance', 'zombie'),
    partition: fc.constantFrom<0 | 1>(...PARTITIONS),
    size: fc.integer({ min: 1, max: 9 }),
  }),
  { maxLength: 60 },
);

/** Two replicas on one topic; each is where its last outcome left it. */
function world(scenario: Scenario, nextFault: () => Fault, maxBatchChanges: number) {
  const deadLetters = fakeDeadLetters();
  const acknowledged = (partition: number): Set<bigint> =>
    new Set(
      deadLetters.letters.filter((letter) => letter.partition === partition).map(({ offset }) => offset),
    );
  const sink = fakeHistory(({ partition, expected, next }) => {
    const passed = scenario.poison[partition]?.filter((offset) => offset >= expected && offset < next) ?? [];
    const known = acknowledged(partition);
    for (const offset of passed)
      assert.ok(known.has(offset), `offset moved past ${offset}, whose letter is not acknowledged`);
  });
  const replicas = [0, 1].map(() => {
    const handler = createPostgresHistory({
      topic: 'employees_changes',
      table: EMPLOYEES,
      origin: 'postgres',
      sink: withFaults(sink, ['apply', 'claim'], nextFault),
      deadLetters: withFaults(deadLetters, ['send'], nextFault),
      schemas: withFaults(schemas, ['schemaById'], nextFault),
      maxBatchChanges,
      now: () => NOW,
      random: () => 0.5,
    });
    return { handler, at: new Map<number, bigint>() };
  });
  return { sink, deadLetters, replicas };
}

interface Replica {
  readonly handler: StreamHandler;
  readonly at: Map<number, bigint>;
}

async function assign({ handler, at }: Replica, partition: number): Promise<void> {
  try {
    const answer = await handler.assigned(new Map([[partition, { low: 0n, high: 1_000_000n }]]));
    for (const [each, offset] of answer) at.set(each, offset);
  } catch {
    // Asked again before the next delivery.
  }
}

async function deliver(
  replica: Replica,
  partition: number,
  records: readonly StreamRecord[],
  size: number,
): Promise<void> {
  if (!replica.at.has(partition)) await assign(replica, partition);
  const from = replica.at.get(partition);
  if (from === undefined) return;
  const left = records.filter(({ offset }) => offset >= from);
  const fetched = left.slice(0, size);
  const next = left[size]?.offset ?? (records.at(-1)?.offset ?? -1n) + 2n;
  const outcome: BatchOutcome = await replica.handler.batch(
    batchOf(fetched, from, next, partition),
    keepAlive,
  );
  if (outcome.kind === 'done') replica.at.set(partition, outcome.next);
  if (outcome.kind === 'seek') replica.at.set(partition, outcome.offset);
}

test('whatever fails, is repeated or changes hands: each change is applied exactly once and in order', async () => {
  const tally = { runs: 0, redelivered: 0, fencedZombies: 0 };
  await fc.assert(
    fc.asyncProperty(
      scenarios,
      faults,
      steps,
      fc.integer({ min: 1, max: 8 }),
      async (scenario, list, plan, cut) => {
        let at = 0;
        const { sink, deadLetters, replicas } = world(scenario, () => list[at++] ?? 'none', cut);
        const owner = [0, 0];
        const replica = (index: number): Replica => replicas[index] ?? assert.fail();
        for (const step of plan) {
          const { partition } = step;
          const records = scenario.topic[partition] ?? [];
          const mine = owner[partition] ?? 0;
          switch (step.kind) {
            case 'deliver':
              await deliver(replica(mine), partition, records, step.size);
              break;
            case 'rebalance':
              replica(mine).handler.revoked([partition]);
              replica(mine).at.delete(partition);
              owner[partition] = 1 - mine;
              break;
            case 'zombie': {
              const before = sink.applied.get(partition)?.length ?? 0;
              owner[partition] = 1 - mine;
              await Promise.all([
                deliver(replica(mine), partition, records, step.size),
                deliver(replica(1 - mine), partition, records, step.size),
              ]);
              replica(mine).handler.revoked([partition]);
              replica(mine).at.delete(partition);
              if ((sink.applied.get(partition)?.length ?? 0) > before) tally.fencedZombies += 1;
              break;
            }
            default:
              step satisfies never;
          }
        }
        list.length = 0;
        for (const partition of PARTITIONS) {
          const records = scenario.topic[partition] ?? [];
          const end = (records.at(-1)?.offset ?? -1n) + 2n;
          for (let tries = 0; (sink.offsets.get(partition) ?? 0n) < end; tries++) {
            assert.ok(tries < 200, 'the partition makes no progress');
            await deliver(replica(owner[partition] ?? 0), partition, records, 7);
          }
          const applied = (sink.applied.get(partition) ?? []).map(({ position }) => BigInt(position));
          assert.deepEqual(applied, scenario.expected[partition]);
          const letters = deadLetters.letters.filter((letter) => letter.partition === partition);
          assert.deepEqual(new Set(letters.map(({ offset }) => offset)), new Set(scenario.poison[partition]));
          if (letters.length > (scenario.poison[partition]?.length ?? 0)) tally.redelivered += 1;
        }
        tally.runs += 1;
      },
    ),
    { numRuns: 1500 },
  );
  // The test is only worth something if such things happened.
  assert.ok(
    tally.redelivered > tally.runs / 50 && tally.fencedZombies > tally.runs / 50,
    JSON.stringify(tally),
  );
});
