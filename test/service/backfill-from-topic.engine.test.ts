import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import kafkajs from 'kafkajs';
import pg from 'pg';
import { createChangeLog } from '../../src/connections/kafka/change-log.ts';
import { latestPosition } from '../../src/connections/kafka/latest-position.ts';
import { openPool } from '../../src/connections/postgres/pool.ts';
import { newestOnTopic, type LoadManifest } from '../../src/flow/load-manifest.ts';
import { backfillTable, type BackfillResult } from '../../src/service/backfill.ts';
import { loadConfig } from '../../src/service/config/load.ts';
import type { Config } from '../../src/service/config/schema.ts';
import { createLogger } from '../../src/service/logger.ts';
import { setupTables } from '../../src/service/setup.ts';
import { endsWell } from '../support/ends-well.ts';
import { committedKeys } from '../support/load-records.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing, type Later } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker } from '../support/worker.ts';

const ROWS = 3000;
const DELETED = 1000;

/** Another database on the same server, which has its own name and cannot reach Databricks. */
interface Target {
  readonly config: Config;
  readonly configFile: string;
  readonly pool: pg.Pool;
}

async function openTarget(site: Site, later: Later): Promise<Target> {
  const name = `${site.name}_copy`;
  const server = new pg.Client({ connectionString: site.config.postgres.url });
  await server.connect();
  await server.query(`create database ${name}`);
  await server.end();
  const folder = later(mkdtempSync(join(tmpdir(), 'deltaferry-copy-')), (made) =>
    rmSync(made, { recursive: true, force: true }),
  );
  const configFile = join(folder, 'deltaferry.yaml');
  const url = new URL(site.config.postgres.url);
  url.pathname = `/${name}`;
  const pool = openPool({ url: url.href, applicationName: 'deltaferry test' });
  later(pool, async () => {
    await pool.end();
    const dropping = new pg.Client({ connectionString: site.config.postgres.url });
    await dropping.connect();
    await dropping.query(`drop database ${name} with (force)`);
    await dropping.end();
  });
  const { kafka, registry, databricks, topics } = site.config;
  const [{ key, columns, ...table }] = site.config.tables as unknown as readonly [Record<string, unknown>];
  const input = {
    kafka: { brokers: kafka.brokers, clientId: name },
    registry: { url: registry.url },
    postgres: { id: 'replica', url: url.href },
    databricks,
    tables: [
      {
        name: table['name'],
        topic: table['topic'],
        partitions: table['partitions'],
        direction: 'delta-to-postgres',
        key,
        columns: { emp_id: 'bigint', name: 'text', salary: 'numeric(12,2)' },
        postgres: { table: 'public.employees' },
        delta: { table: site.deltaTable },
      },
    ],
    topics: { positions: topics.positions },
  };
  assert.ok(columns);
  writeFileSync(configFile, JSON.stringify(input), { mode: 0o600 });
  await setupTables(await loadConfig({ file: configFile, env: {} }));
  // Nobody answers there.
  const nowhere = { ...input, databricks: { ...databricks, host: '127.0.0.1', port: 1 } };
  writeFileSync(configFile, JSON.stringify(nowhere), { mode: 0o600 });
  return { config: await loadConfig({ file: configFile, env: {} }), configFile, pool };
}

async function load(config: Config, from: 'delta' | 'topic'): Promise<BackfillResult> {
  const troubles: unknown[] = [];
  const result = await backfillTable({
    config,
    table: config.tables[0]!,
    mode: 'new',
    from,
    logger: createLogger({ level: 'error', format: 'json' }),
    signal: AbortSignal.timeout(60_000),
    onProgress: () => {},
    onTrouble: (error) => troubles.push(error),
    // Many transactions, so that nearly all of the topic is behind its newest segment.
    rowsPerPiece: 300,
  });
  assert.deepEqual(troubles, []);
  return result;
}

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
async function liveOffsets({ pool }: Target): Promise<bigint[]> {
  const { rows } = await pool.query<{ next: string }>(
    `SELECT next_offset AS next FROM deltaferry.offsets
     WHERE group_id LIKE 'deltaferry.postgres-history.replica.%' AND held_by IS NULL ORDER BY partition`,
  );
  return rows.map(({ next }) => BigInt(next));
}

/** Has the broker compact the topic as soon as it can. */
async function compactAtOnce({ kafka, name }: Site): Promise<void> {
  const admin = kafka.admin();
  await admin.connect();
  const settings = {
    'cleanup.policy': 'compact',
    'segment.ms': '1',
    'min.cleanable.dirty.ratio': '0',
    'max.compaction.lag.ms': '1',
    'delete.retention.ms': '0',
  };
  const configEntries = Object.entries(settings).map(([key, value]) => ({ name: key, value }));
  try {
    await admin.alterConfigs({
      validateOnly: false,
      resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: `${name}_backfill`, configEntries }],
    });
  } finally {
    await admin.disconnect();
  }
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
  let target: Target;

  before(async () => {
    site = later(await openSite({ prefix: 'from_topic', partitions: 2 }), (made) => made.drop());
    target = await openTarget(site, later);
    await compactAtOnce(site);
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
