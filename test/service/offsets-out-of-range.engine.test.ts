import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { before, beforeEach, describe, it } from 'node:test';
import { partitionOf } from '../../src/connections/kafka/partitioner.ts';
import { setupTables } from '../../src/service/setup.ts';
import type { Status } from '../../src/service/status.ts';
import { deltaferry } from '../cli/spawned.ts';
import { endsWell } from '../support/ends-well.ts';
import { capturedChange, namesInDelta } from '../support/merge-table.ts';
import { employeeChange, openRecords, type Records } from '../support/records.ts';
import { healthOf, QUICK, urlOf } from '../support/service.ts';
import { openSite, type Site } from '../support/site.ts';
import { settledEnds } from '../support/topic-ends.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type Worker } from '../support/worker.ts';

const PARTITIONS = 3;
/** The one whose records expire, one that goes on, and one that gets its first records after the topic was made anew. */
const [GONE, WELL, LATE] = [0, 1, 2];
const SINKS = ['postgres-history', 'delta-merge'] as const;

describe('sinks whose next offset the topic does not have', () => {
  const later = undoing();
  let site: Site;
  let records: Records;
  let worker: Worker;
  let lastKey = 0;
  /** Keys that must be in the history and in Delta, and no others. */
  const expected = { history: [] as number[], delta: [] as number[] };

  before(async () => {
    site = later(
      await openSite({ prefix: 'range', partitions: PARTITIONS, direction: 'both', settings: QUICK }),
      (made) => made.drop(),
    );
    records = later(await openRecords(site), (made) => made.close());
  });

  /** What lies on the partition before: applied, with both sinks at its end. */
  beforeEach(async () => {
    if (lastKey > 0) return;
    for (const partition of [GONE, WELL]) await produce(partition, 3, true);
    start();
    for (const partition of [GONE, WELL]) await atEnd(partition);
    await endsWell(worker);
  });

  function start(): void {
    const args = ['--config', site.configFile, '--only', SINKS.join(',')];
    worker = later(startWorker(args), (made) => made.kill());
  }

  function nextKey(partition: number): number {
    do lastKey += 1;
    while (partitionOf(Buffer.from(String(lastKey)), PARTITIONS) !== partition);
    return lastKey;
  }

  /** So many changes made in Delta and as many made in Postgres; plain records, so that no offset is a mark. */
  async function produce(partition: number, count: number, arrives: boolean): Promise<void> {
    for (let n = 0; n < count; n++) {
      const [fromDelta, fromPostgres] = [nextKey(partition), nextKey(partition)];
      await records.produce([
        records.of(employeeChange(fromDelta)),
        records.of(capturedChange(fromPostgres, { name: `Employee ${fromPostgres}` })),
      ]);
      if (!arrives) continue;
      expected.history.push(fromDelta);
      expected.delta.push(fromPostgres);
    }
  }

  const ends = (): Promise<number[]> => settledEnds(site.kafka, site.topic);

  /** As retention would: the partition begins at that offset. */
  async function expire(partition: number, offset: number): Promise<void> {
    const admin = site.kafka.admin();
    await admin.connect();
    try {
      // Makes kafkajs look for the leaders.
      await admin.fetchTopicOffsets(site.topic);
      await admin.deleteTopicRecords({
        topic: site.topic,
        partitions: [{ partition, offset: String(offset) }],
      });
    } finally {
      await admin.disconnect();
    }
  }

  /** The stored offset of each sink. */
  async function stored(partition: number): Promise<number[]> {
    const { rows } = await site.pool.query<{ next: string }>(
      'SELECT next_offset AS next FROM deltaferry.offsets WHERE topic = $1 AND partition = $2 ORDER BY group_id',
      [site.topic, partition],
    );
    return rows.map(({ next }) => Number(next));
  }

  async function atEnd(partition: number): Promise<void> {
    const end = (await ends())[partition]!;
    await until(
      `both sinks to be at the end of partition ${partition}`,
      async () => {
        const at = await stored(partition);
        return at.length === SINKS.length && at.every((next) => next === end);
      },
      { timeoutMs: 240_000 },
    );
  }

  /** Readiness, metrics, log and `deltaferry status` name the code and what is to do. */
  async function saysSo(partitions: readonly number[], code: string, remedy: RegExp): Promise<void> {
    const { readyz, metric } = healthOf(await urlOf(worker.lines));
    for (const sink of SINKS)
      for (const partition of partitions) {
        const part = `${sink}/${site.name}/${partition}`;
        const found = await until(
          `readiness to say ${code} of ${part}`,
          async () => {
            const { status, parts } = await readyz();
            return status === 503 && parts[part]?.code === code && parts[part];
          },
          { timeoutMs: 60_000 },
        );
        assert.deepEqual([found.state, found.ready], ['stopped', false]);
        assert.match(found.remedy ?? '', remedy);
        assert.equal(await metric('deltaferry_part_state', { part, state: 'stopped' }), 1);
        const line = worker.lines.find((one) => one['part'] === part && one['code'] === code);
        assert.equal(line?.level, 50);
        assert.match(String(line?.['remedy']), remedy);
      }
    const { code: exit, stdout } = await deltaferry(
      ['status', '--no-delta', '--json', '--config', site.configFile],
      dirname(site.configFile),
    );
    const { problems } = JSON.parse(stdout) as Status;
    assert.deepEqual(
      problems.map((problem) => problem.code),
      SINKS.map(() => code),
    );
    for (const problem of problems) assert.match(problem.remedy, remedy);
    assert.equal(exit, 1);
  }

  /** Each sink has what it should, and not one record more. */
  async function nothingElse(): Promise<void> {
    const ids = (await records.history()).map(({ id }) => id);
    assert.deepEqual(
      ids.sort((a, b) => a - b),
      expected.history.sort((a, b) => a - b),
    );
    assert.deepEqual(
      [...(await namesInDelta(site)).keys()].sort((a, b) => a - b),
      expected.delta.sort((a, b) => a - b),
    );
    assert.deepEqual(await records.deadLetters(), []);
  }

  it('go on where everything that expired was applied, the marks that end transactions included', async () => {
    const publisher = later(await site.openPublisher(), (made) => made.close());
    const keys = [nextKey(WELL), nextKey(WELL)] as const;
    start();
    await publisher.publish([
      employeeChange(keys[0]),
      capturedChange(keys[1], { name: `Employee ${keys[1]}` }),
    ]);
    expected.history.push(keys[0]);
    expected.delta.push(keys[1]);
    await atEnd(WELL);
    await endsWell(worker);
    await expire(WELL, (await ends())[WELL]!);
    start();
    await produce(WELL, 1, true);
    await atEnd(WELL);
    const { status, parts } = await healthOf(await urlOf(worker.lines)).readyz();
    assert.equal(status, 200, JSON.stringify(parts));
    await nothingElse();
    await endsWell(worker);
  });

  it('stop where records expired that they had not applied, say so, reset and skip nothing, and others go on', async () => {
    const before = await stored(GONE);
    await produce(GONE, 3, false);
    await produce(WELL, 2, true);
    await expire(GONE, (await ends())[GONE]! - 1);
    start();
    await saysSo([GONE], 'OFFSETS_EXPIRED', /^Lengthen retention\.ms of .*deltaferry backfill/);
    await atEnd(WELL);
    assert.deepEqual(await stored(GONE), before);
    await nothingElse();
    await endsWell(worker);
  });

  it('stop where the topic was made anew and is shorter, say so, reset and skip nothing, and others go on', async () => {
    const before = [await stored(GONE), await stored(WELL)];
    const admin = site.kafka.admin();
    await admin.connect();
    await admin.deleteTopics({ topics: [site.topic] });
    await until('the topic to be gone', async () => !(await admin.listTopics()).includes(site.topic));
    await admin.disconnect();
    assert.equal((await setupTables(site.config)).outcome, 'done');
    await produce(WELL, 1, false);
    await produce(LATE, 2, true);

    start();
    await saysSo(
      [GONE, WELL],
      'OFFSETS_BEYOND_END',
      /^Restore the topic, or (load|let this sink begin) .*deltaferry backfill/,
    );
    await atEnd(LATE);
    assert.deepEqual([await stored(GONE), await stored(WELL)], before);
    await nothingElse();
    await endsWell(worker);
  });
});
