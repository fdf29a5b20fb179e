import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type pg from 'pg';
import { createChangeLog } from '../../src/connections/kafka/change-log.ts';
import { latestPosition } from '../../src/connections/kafka/latest-position.ts';
import { newestOnTopic, type LoadManifest } from '../../src/flow/load-manifest.ts';
import type { BackfillResult } from '../../src/service/backfill.ts';
import type { Config } from '../../src/service/config/schema.ts';
import { compactAtOnce } from '../support/compaction.ts';
import { openCopy, type Copy } from '../support/copy.ts';
import { endsWell } from '../support/ends-well.ts';
import { committedKeys } from '../support/load-records.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker } from '../support/worker.ts';
import { loadWithoutTrouble } from '../support/load-here.ts';

const ROWS = 3000;
const DELETED = 1000;

// Many transactions, so that nearly all of the topic is behind its newest segment.
const load = (config: Config, from: 'delta' | 'topic'): Promise<BackfillResult> =>
  loadWithoutTrouble(config, { from, rowsPerPiece: 300 });

const refused = (config: Config, code: string, words: RegExp): Promise<void> =>
  assert.rejects(load(config, 'topic'), (error: Error & { code?: string }) => {
    assert.equal(error.code, code, error.message);
    assert.match(error.message, words);
    return true;
  });

async function change(site: Site, sql: string): Promise<void> {
  await site.warehouse.query({ doing: 'changing rows', sql: sql.replaceAll('$T', site.deltaTable) });
}

/** What the table says is so now: as Delta has it. */
async function current(pool: pg.Pool): Promise<string[]> {
  const { rows } = await pool.query<{ row: string }>(
    `SELECT concat_ws('|', emp_id, name, salary) AS row FROM public.employees WHERE off_date IS NULL ORDER BY emp_id`,
  );
  return rows.map(({ row }) => row);
}

async function inDelta(site: Site): Promise<string[]> {
  const rows = await site.warehouse.query({
    doing: 'reading the table',
    sql: `SELECT concat_ws('|', emp_id, name, CAST(salary AS STRING)) AS row FROM ${site.deltaTable} ORDER BY emp_id`,
  });
  return rows.map(({ row }) => String(row));
}

async function manifest(site: Site): Promise<LoadManifest> {
  const found = newestOnTopic(
    await latestPosition(site.kafka, { topic: site.config.topics.positions, owner: `backfill/${site.name}` }),
    site.name,
  );
  assert.equal(found.kind, 'complete');
  return found.manifest;
}

/** The offsets of the group that applies changes to this target's history. */
async function liveOffsets({ pool }: Copy): Promise<bigint[]> {
  const { rows } = await pool.query<{ next: string }>(
    `SELECT next_offset AS next FROM deltaferry.offsets
     WHERE group_id LIKE 'deltaferry.postgres-history.replica.%' AND held_by IS NULL ORDER BY partition`,
  );
  return rows.map(({ next }) => BigInt(next));
}

/** As retention does: nothing before the offset is on the changes topic any more. */
async function expire({ kafka, topic }: Site, partition: number, before: bigint): Promise<void> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    // Has it know the topic's leaders.
    await admin.fetchTopicOffsets(topic);
    await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(before) }] });
  } finally {
    await admin.disconnect();
  }
}

describe('a database that is loaded from the topic alone', () => {
  const later = undoing();
  let site: Site;
  let target: Copy;

  before(async () => {
    site = later(await openSite({ prefix: 'from_topic', partitions: 2 }), (made) => made.drop());
    target = await openCopy(site, later);
    // People's tables have such defaults.
    await target.pool.query(`ALTER TABLE public.employees ALTER off_date SET DEFAULT 'infinity'`);
    await compactAtOnce(site.kafka, `${site.name}_backfill`, 1);
    await change(
      site,
      `INSERT INTO $T SELECT id, concat('Employee ', id), CAST(id % 1000 AS DECIMAL(12,2)) FROM range(${ROWS})`,
    );
  });

  it(
    'has the rows of the newest load, no more and no fewer, once the broker has compacted, and live changes go on',
    { timeout: 180_000 },
    async () => {
      await refused(target.config, 'LOAD_TOPIC_EMPTY', /holds no load/);
      await load(site.config, 'delta');
      const worker = later(startWorker(['--config', site.configFile]), (made) => made.kill());
      await change(site, `DELETE FROM $T WHERE emp_id < ${DELETED}`);
      await change(site, `UPDATE $T SET salary = -1 WHERE emp_id % 2 = 0`);
      const before = await inDelta(site);
      await until(
        'changes from before the second load',
        async () => assert.deepEqual(await current(site.pool), before) ?? true,
        { everyMs: 200, timeoutMs: 60_000 },
      );
      await load(site.config, 'delta');
      const newest = await manifest(site);
      assert.equal(newest.rows, ROWS - DELETED);
      assert.ok(
        newest.liveOffsets.every((offset) => offset > 0n),
        'changes lie before the load',
      );

      const keys = await until(
        'the broker to have compacted the topic',
        async () => {
          const found = await committedKeys(site, `${site.name}_backfill`);
          return found.length < ROWS + 300 && found;
        },
        { everyMs: 500, timeoutMs: 60_000 },
      );
      assert.equal(new Set(keys).size, ROWS, 'rows that were deleted since are still on the topic');

      // After the load: what the target has to get as changes.
      await change(site, `UPDATE $T SET name = 'changed' WHERE emp_id IN (1001, 1002)`);
      await change(site, `DELETE FROM $T WHERE emp_id = 1003`);
      await change(site, `INSERT INTO $T VALUES (5, 'again', 5)`);

      const { rows } = await load(target.config, 'topic');
      assert.equal(rows, ROWS - DELETED);
      assert.deepEqual(await liveOffsets(target), newest.liveOffsets);
      const loaded = await current(target.pool);
      assert.equal(loaded.length, ROWS - DELETED);
      assert.equal(loaded[0], '1000|Employee 1000|-1.00', 'nothing is resurrected');
      const times = await target.pool.query<{ n: number }>(
        'SELECT count(DISTINCT on_date)::int AS n FROM public.employees',
      );
      assert.equal(times.rows[0]!.n, 1);

      const copying = later(
        startWorker(['--config', target.configFile, '--only', 'postgres-history']),
        (made) => made.kill(),
      );
      const expected = await inDelta(site);
      await until(
        'the changes since the load',
        async () => assert.deepEqual(await current(target.pool), expected) ?? true,
        { everyMs: 200, timeoutMs: 60_000 },
      );
      await endsWell(copying);
      await endsWell(worker);
      const { rows: older } = await target.pool.query(
        'SELECT emp_id FROM public.employees WHERE off_date IS NOT NULL ORDER BY emp_id',
      );
      assert.deepEqual(
        older.map((row: { emp_id: string }) => row.emp_id),
        ['1001', '1002', '1003'],
        'changes from before the load are not applied',
      );
      assert.deepEqual(await current(site.pool), expected, 'and the target that made the load has the same');
    },
  );

  it('is refused where rows or changes are missing, or may be', { timeout: 120_000 }, async () => {
    await refused(target.config, 'LOAD_TARGET_HOLDS_ROWS', /holds rows/);
    await refused(site.config, 'LOAD_TOPIC_SAME_TARGET', /called postgres/);
    const { liveOffsets: live, load: id } = await manifest(site);

    await expire(site, 1, live[1]! + 1n);
    await refused(target.config, 'LOAD_CHANGES_GONE', new RegExp(`since load ${id}.*partition 1 `));

    // Another load has begun, as a process that was killed leaves it.
    const log = createChangeLog({
      kafka: site.kafka,
      producerName: 'backfill',
      table: site.name,
      topic: `${site.name}_backfill`,
      partitions: 2,
      deadLetterTopic: `${site.topic}.dead-letters`,
      positionsTopic: site.config.topics.positions,
      encode: () => Buffer.of(),
    });
    await log.open();
    const position = { load: 'the-next-load', parts: 1, rows: 300, rejected: 0 };
    await log.publish({ changes: [], rejected: [], position });
    await log.close();
    await refused(target.config, 'LOAD_TOPIC_UNFINISHED', /the-next-load, is unfinished/);
    const { rows } = await target.pool.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM deltaferry.loads WHERE phase <> 'live'`,
    );
    assert.equal(rows[0]!.n, 0, 'what is refused has begun nothing');
  });
});
