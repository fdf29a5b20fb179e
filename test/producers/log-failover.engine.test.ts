import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { OperatorError } from '../../src/errors.ts';
import { createLoadFiles } from '../../src/connections/postgres/load-files.ts';
import { createLogStart, createNewestLoad } from '../../src/connections/postgres/load-start.ts';
import { createLoads } from '../../src/connections/postgres/loads.ts';
import { openPool } from '../../src/connections/postgres/pool.ts';
import { urlWith } from '../connections/postgres/database.ts';
import { startCopiedPostgres, type CopiedPostgres } from '../support/postgres-pair.ts';
import { undoing } from '../support/undoing.ts';
import { until as untilTrue } from '../support/until.ts';
import { openCaptureDatabase, type CapturedTable } from './captured-table.ts';
import { FakeLeadership, FakeTopic, until } from './fake-log.ts';
import { startLogPoller, type LogRun } from './log-run.ts';

const MERGERS = { group: 'mergers', topic: 'changes' };

/** What another server has of a captured table that took the place of the first one; only the topic is in memory. */
describe('log poller: another server', () => {
  const later = undoing();

  async function captured(): Promise<{ server: CopiedPostgres; table: CapturedTable; topic: FakeTopic }> {
    const server = later(await startCopiedPostgres(), (made) => made.stop());
    const database = await openCaptureDatabase(server.url);
    later(database, (made) => made.drop().catch(() => undefined));
    return { server, table: await database.table(), topic: new FakeTopic() };
  }

  /** The same table on another server. */
  function on(server: CopiedPostgres, { table, name, url }: CapturedTable) {
    const here = urlWith(url, { port: Number(new URL(server.url).port) });
    const pool = later(openPool({ url: here, maxConnections: 3 }), (made) => made.end());
    return {
      pool,
      url: here,
      insert: async (...ids: readonly number[]) => {
        for (const id of ids) await pool.query(`INSERT INTO ${table} VALUES (${id}, 'row', 1)`);
      },
      loadedTo: createLogStart(pool, name),
      newestLoad: createNewestLoad(pool, name, 'postgres'),
    };
  }

  function poll(at: ReturnType<typeof on>, table: CapturedTable, topic: FakeTopic): LogRun {
    return later(
      startLogPoller({
        table: table.name,
        source: table.source({ url: at.url }),
        log: topic.log(),
        leadership: new FakeLeadership().port(),
        options: { stoppedRetryMs: 50, upkeepMs: 200 },
        loadedTo: at.loadedTo,
        newestLoad: at.newestLoad,
      }),
      (made) => made.drain(),
    );
  }

  const keys = (topic: FakeTopic): string => topic.changes.map(({ key }) => key).join(' ');
  const published = (topic: FakeTopic, count: number): Promise<void> =>
    until(() => topic.changes.length >= count, `${count} changes, now ${keys(topic)}`);

  async function stopped(run: LogRun): Promise<void> {
    await run.reaches('stopped');
    const { error } = run.state() as { error: OperatorError };
    assert.equal(error.code, 'POSTGRES_RESTORED');
    assert.match(error.remedy ?? '', /--from postgres/);
  }

  /** As `deltaferry backfill --from postgres` does it, but for the rows. */
  async function load({ pool }: ReturnType<typeof on>, { name, table }: CapturedTable): Promise<void> {
    const intoDelta = { mergers: MERGERS, holdsRows: async () => true };
    const what = { pool, name, target: 'main.employees', columns: [], topic: 'loads', captured: false };
    const loads = createLoads({ ...what, consumers: { group: 'none', topic: table }, intoDelta });
    const begun = await loads.begin({ id: `load-${name}`, startOffsets: [0n], changesLow: [0n] });
    await loads.pinned(begun.id, { tableId: 't', version: 3, ts: 1, rows: 0 }, [40n]);
    await loads.published(begun.id, [0n]);
    await createLoadFiles(pool, begun).finish();
  }

  const follows = (standby: CopiedPostgres, primary: CopiedPostgres): Promise<unknown> =>
    untilTrue('the standby to have everything', async () => {
      const [now] = await primary.sql<{ lsn: string }>('SELECT pg_current_wal_flush_lsn()::text AS lsn');
      const [at] = await standby.sql<{ has: boolean }>(
        `SELECT coalesce(pg_last_wal_replay_lsn() >= '${now!.lsn}', false) AS has`,
      );
      return at!.has;
    });

  it(
    'a standby that had everything: goes on by itself, nothing twice, nothing missing',
    { timeout: 120_000 },
    async () => {
      const { server, table, topic } = await captured();
      const before = on(server, table);
      const standby = later(await server.copy('standby'), (made) => made.stop());
      const first = poll(before, table, topic);
      await before.insert(1, 2);
      await published(topic, 2);
      await first.drain();
      await before.insert(3);
      await follows(standby, server);
      await server.kill();
      await standby.sql('SELECT pg_promote()');
      const after = on(standby, table);
      await after.insert(4);
      const run = poll(after, table, topic);
      await published(topic, 4);
      assert.equal(keys(topic), '1 2 3 4');
      assert.equal(run.state().name, 'polling');
    },
  );

  it(
    'a standby that had lost what was published: stops until a load that began since is done, and goes on behind it',
    { timeout: 120_000 },
    async () => {
      const { server, table, topic } = await captured();
      const before = on(server, table);
      const standby = later(await server.copy('standby'), (made) => made.stop());
      const first = poll(before, table, topic);
      await before.insert(1);
      await published(topic, 1);
      await follows(standby, server);
      await standby.sql(`ALTER SYSTEM SET primary_conninfo = ''`);
      await standby.sql('SELECT pg_reload_conf()');
      await untilTrue('it to be cut off', async () => {
        const [row] = await server.sql<{ n: number }>('SELECT count(*)::int AS n FROM pg_stat_replication');
        return row!.n === 0;
      });
      await before.insert(2, 3);
      await published(topic, 3);
      await first.drain();
      await server.kill();
      await standby.sql('SELECT pg_promote()');
      const after = on(standby, table);
      // More than were lost: nothing but the mark tells.
      await after.insert(11, 12, 13, 14, 15, 16);
      const run = poll(after, table, topic);
      await stopped(run);
      const [{ next }] = await offsets(after);
      assert.equal(next, '7');
      await load(after, table);
      // What was published before the load must not come to Delta after it.
      assert.equal((await offsets(after))[0].next, '40');
      await after.insert(17);
      await published(topic, 4);
      assert.equal(keys(topic), '1 2 3 17');
    },
  );

  it(
    'files restored from a backup: stops, though cluster and timeline are the same',
    { timeout: 120_000 },
    async () => {
      const { server, table, topic } = await captured();
      const before = on(server, table);
      const first = poll(before, table, topic);
      await before.insert(1);
      await published(topic, 1);
      const restored = later(await server.copy('restored'), (made) => made.stop());
      await before.insert(2);
      await published(topic, 2);
      await first.drain();
      const after = on(restored, table);
      await after.insert(11, 12, 13, 14);
      await stopped(poll(after, table, topic));
      assert.equal(keys(topic), '1 2');
    },
  );

  async function offsets({ pool }: ReturnType<typeof on>): Promise<[{ next: string }]> {
    await pool.query(
      `INSERT INTO deltaferry.offsets (group_id, topic, partition, next_offset) VALUES ($1, $2, 0, 7) ON CONFLICT DO NOTHING`,
      [MERGERS.group, MERGERS.topic],
    );
    const { rows } = await pool.query<{ next: string }>(
      'SELECT next_offset AS next FROM deltaferry.offsets WHERE group_id = $1',
      [MERGERS.group],
    );
    return rows as [{ next: string }];
  }
});
