import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { before, describe, it } from 'node:test';
import kafkajs from 'kafkajs';
import { assertBoundedMemory, MOST_MEGABYTES, startBackfill, textOf } from '../support/backfill-run.ts';
import { bothSides, type BothSides } from '../support/both-sides.ts';
import { endsWell } from '../support/ends-well.ts';
import { peakMemory } from '../support/memory.ts';
import { QUICK } from '../support/service.ts';
import { openSite, type Site } from '../support/site.ts';
import { settledEnds } from '../support/topic-ends.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type Worker } from '../support/worker.ts';

const MEGABYTE = 1024 * 1024;
const PATIENCE_MS = 240_000;
/** Rows that are inserted and updated while the service is away: 300 MB of changes. */
const WAITING = 100;
const SIDES = ['delta', 'postgres'] as const;

/** Characters of which lz4 makes no fewer bytes. */
const noise = (length: number) => randomBytes(length).toString('base64').slice(0, length);
const person = (id: number, length = MEGABYTE) => ({ id, name: noise(length), salary: '1.00' });
const range = (from: number, count: number) => Array.from({ length: count }, (_, n) => from + n);

const md5 = (text: string) => createHash('md5').update(text).digest('hex');

type Digests = readonly string[];

describe('rows with 1 MB of text that does not compress', () => {
  const later = undoing();
  let site: Site;
  let sides: BothSides;
  let worker: Worker;

  before(async () => {
    site = later(
      // One partition: rows that are sent together would be one record batch.
      await openSite({ prefix: 'wide_rows', direction: 'both', partitions: 1, settings: QUICK }),
      (made) => made.drop(),
    );
    sides = bothSides(site);
    worker = later(startWorker(['--config', site.configFile]), (made) => made.kill());
  });

  const digests = (rows: readonly Readonly<Record<string, unknown>>[]): Digests =>
    rows.map(({ emp_id, name }) => `${String(emp_id)} ${String(name)}`).sort();

  async function inPostgres(): Promise<Digests> {
    const sql = 'SELECT emp_id, md5(name) AS name FROM public.employees WHERE off_date IS NULL';
    return digests((await site.pool.query<Record<string, unknown>>(sql)).rows);
  }

  async function inDelta(): Promise<Digests> {
    const sql = `SELECT emp_id, md5(name) AS name FROM ${site.deltaTable}`;
    return digests(await site.warehouse.query({ doing: 'looking', sql }));
  }

  async function arrived(side: 'delta' | 'postgres', wanted: Digests): Promise<void> {
    const look = side === 'delta' ? inDelta : inPostgres;
    let found: Digests = [];
    const same = async () => {
      found = await look();
      return found.length === wanted.length && found.every((row, n) => row === wanted[n]);
    };
    await until(`the rows in ${side}`, same, { timeoutMs: PATIENCE_MS, everyMs: 200 }).catch(() =>
      assert.deepEqual(found, wanted),
    );
  }

  const expected = (): Digests =>
    Array.from(sides.expected, ([id, state]) => {
      const [name = ''] = state.split(' ');
      return `${id} ${md5(name)}`;
    }).sort();

  for (const [n, side] of SIDES.entries()) {
    const other = side === 'delta' ? 'postgres' : 'delta';
    const first = 1 + n * 100;

    it(
      `cross from ${side} when they are inserted, updated and deleted`,
      { timeout: PATIENCE_MS },
      async () => {
        const writer = side === 'delta' ? sides.inDelta : sides.inPostgres;
        await writer.upsert(...range(first, 3).map((id) => person(id)));
        await arrived(other, expected());
        await writer.upsert(
          ...range(first, 3).map((id) => person(id)),
          // Each less than a record batch may be, together more.
          ...range(first + 10, 6).map((id) => person(id, 400_000)),
        );
        await arrived(other, expected());
        await writer.remove(first);
        await arrived(other, expected());
        await sides.assertCrossedOnce();
      },
    );
  }

  it(
    'stop their table where the topic does not take them, and cross once it does',
    { timeout: PATIENCE_MS },
    async () => {
      const wide = person(501);
      await limit(site, 1_048_588);
      await sides.inPostgres.upsert(wide);
      const refused = await until('the poller to stop', () =>
        worker.lines.find(({ code, state }) => code === 'KAFKA_RECORD_TOO_LARGE' && state === 'stopped'),
      );
      assert.match(
        String(refused['error']),
        new RegExp(`Topic ${site.topic} refused .* key 501 .* takes 1048588 \\(max\\.message\\.bytes\\)`),
      );
      assert.ok(String(refused['remedy']).includes(`--topic ${site.topic} --add-config max.message.bytes=`));
      await limit(site, site.config.topics.maxMessageBytes);
      await arrived('delta', expected());
      await sides.assertCrossedOnce();
    },
  );

  it('are compared and loaded by loads of both ways', { timeout: PATIENCE_MS }, async () => {
    const load = async (...more: string[]): Promise<unknown> => {
      const args = [site.name, '--config', site.configFile, '--json', ...more];
      const run = later(startBackfill(args), (made) => made.kill());
      assert.equal(await run.ended(), 0, textOf(run).slice(0, 5000));
      assertBoundedMemory([run]);
      return (JSON.parse(run.printed.join('\n')) as { readonly reconciled: unknown }).reconciled;
    };
    const same = { added: 0, corrected: 0, ended: 0 };
    assert.deepEqual(await load(), same);
    assert.deepEqual(await load('--from', 'postgres'), same);
    // A row that only Delta has, and one that is another one there: written with the mark of a sink, they come back to nobody.
    await site.warehouse.query({
      doing: 'changing rows',
      sql: `MERGE INTO ${site.deltaTable} t USING (SELECT 2 AS id, :name AS name, :ferry AS ferry UNION ALL SELECT 700, :name, :ferry) s
        ON t.emp_id = s.id AND s.ferry = :ferry
        WHEN MATCHED THEN UPDATE SET name = s.name
        WHEN NOT MATCHED THEN INSERT (emp_id, name, salary) VALUES (s.id, s.name, 1)`,
      params: { name: noise(MEGABYTE), ferry: 'deltaferry/test older' },
    });
    assert.deepEqual(await load('--from', 'postgres'), { added: 0, corrected: 1, ended: 1 });
    await arrived('delta', expected());
    await arrived('postgres', expected());
  });

  it('take bounded memory, however many wait', { timeout: PATIENCE_MS }, async (t) => {
    await endsWell(worker);
    await site.pool.query(
      `INSERT INTO public.employees (emp_id, name, salary, is_active, on_date)
       SELECT 1000 + n, substr($1::text, n * 1000) || left($1, n * 1000), 1, true, now() FROM generate_series(1, $2::int) n`,
      [noise(MEGABYTE), WAITING],
    );
    await site.pool.query('UPDATE public.employees SET name = reverse(name) WHERE emp_id >= 1000');
    const before = await published();
    worker = later(startWorker(['--config', site.configFile, '--only', 'postgres-log']), (made) =>
      made.kill(),
    );
    await until('all of them on the topic', async () => (await published()) >= before + 2 * WAITING, {
      timeoutMs: PATIENCE_MS,
    });
    const peak = peakMemory(worker.pid);
    await endsWell(worker);
    assert.ok(peak === null || peak <= MOST_MEGABYTES, `peak ${peak} MB`);

    // A load waits until what was changed in Delta is in Postgres; what was changed there is read with the rest.
    worker = later(
      startWorker(['--config', site.configFile, '--only', 'delta-feed,postgres-history']),
      (made) => made.kill(),
    );
    const args = [site.name, '--config', site.configFile, '--from', 'postgres'];
    const run = later(startBackfill(args), (made) => made.kill());
    assert.equal(await run.ended(), 0, textOf(run).slice(0, 5000));
    t.diagnostic(`poller ${peak} MB; ${assertBoundedMemory([run])}`);
    await arrived('delta', await inPostgres());
    await endsWell(worker);
  });

  const published = async () => (await settledEnds(site.kafka, site.topic))[0] ?? 0;
});

/** Few bytes on the topic, of which a fetch takes many: 320 MB come of 1.5 MB. */
describe('rows with 1 MB of text that compresses to next to nothing', () => {
  const later = undoing();
  const PARTITIONS = 8;
  const ROWS = PARTITIONS * 40;
  /** One of so many is for the sink; the others its own system has made, which are read as well. */
  const FOR_THE_SINK = 8;
  const text = '0,'.repeat(MEGABYTE / 2);

  it('are read ahead in bounded memory, in all partitions together', { timeout: PATIENCE_MS }, async (t) => {
    const site = later(
      await openSite({ prefix: 'thin_rows', direction: 'both', partitions: PARTITIONS, settings: QUICK }),
      (made) => made.drop(),
    );
    const publisher = later(await site.openPublisher(), (made) => made.close());
    const publish = (name: string, ids: readonly number[]): Promise<void> =>
      publisher.publish(
        ids.map((id) => ({
          op: 'insert',
          key: String(id),
          before: null,
          after: [id, name, '1.00'],
          origin: id % FOR_THE_SINK === 0 ? 'delta' : 'postgres',
          table: site.name,
          position: id,
          ts: 1_700_000_000_000_000,
          tx: null,
          load: null,
        })),
      );
    const worker = later(startWorker(['--config', site.configFile, '--only', 'postgres-history']), (made) =>
      made.kill(),
    );
    const arrived = (rows: number, characters: number): Promise<unknown> =>
      until(
        `${rows} rows in Postgres`,
        async () => {
          const { rows: found } = await site.pool.query<{ rows: string; keys: string; characters: string }>(
            `SELECT count(*)::text AS rows, count(DISTINCT emp_id)::text AS keys, sum(length(name))::text AS characters
             FROM public.employees WHERE off_date IS NULL`,
          );
          const [row] = found;
          return row?.rows === String(rows) && row.keys === row.rows && row.characters === String(characters);
        },
        { timeoutMs: PATIENCE_MS, everyMs: 50 },
      );
    // Of rows as they usually are, a fetch may take all that is allowed.
    for (let n = 1; n <= 8; n++) {
      await publish('x', range(n * 1000, 10 * FOR_THE_SINK));
      await arrived(n * 10, n * 10);
    }
    const before = peakMemory(worker.pid);
    // One transaction: all of them can be read at once.
    await publish(text, range(100_000, ROWS));
    const wide = ROWS / FOR_THE_SINK;
    await arrived(80 + wide, 80 + wide * text.length);
    const peak = peakMemory(worker.pid);
    await endsWell(worker);
    t.diagnostic(`worker ${peak} MB, ${before} MB before them`);
    assert.ok(peak === null || peak <= MOST_MEGABYTES, `peak ${peak} MB`);
  });
});

async function limit(site: Site, bytes: number): Promise<void> {
  const admin = site.kafka.admin();
  await admin.connect();
  await admin.alterConfigs({
    validateOnly: false,
    resources: [
      {
        type: kafkajs.ConfigResourceTypes.TOPIC,
        name: site.topic,
        configEntries: [{ name: 'max.message.bytes', value: String(bytes) }],
      },
    ],
  });
  await admin.disconnect();
}
