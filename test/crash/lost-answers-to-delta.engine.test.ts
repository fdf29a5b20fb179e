import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createChangeEncoder } from '../../src/change/avro.ts';
import { createChangeLog } from '../../src/connections/kafka/change-log.ts';
import { createLeadership } from '../../src/connections/postgres/leadership.ts';
import { createPostgresLog } from '../../src/connections/postgres/log-source.ts';
import { createSchemaRegistry } from '../../src/connections/registry/schemas.ts';
import { TransientError } from '../../src/errors.ts';
import type { ChangeLog } from '../../src/ports/change-log.ts';
import { runPostgresLog } from '../../src/producers/postgres-log.ts';
import { API, cuttingProxy, kafkaThrough } from '../connections/kafka/cutting-proxy.ts';
import { tally } from '../support/batches.ts';
import { capturedChanges } from '../support/captured-changes.ts';
import { seededRandom } from '../support/change-generator.ts';
import { endsWell } from '../support/ends-well.ts';
import { caughtUp } from '../support/history-check.ts';
import { historyWriters } from '../support/history-writers.ts';
import { sees, type LogProgress } from '../support/log-progress.ts';
import { assertMergedOnce } from '../support/merge-progress.ts';
import { assertInDelta, capturedChange } from '../support/merge-table.ts';
import { startProxy } from '../support/proxy.ts';
import { openSite } from '../support/site.ts';
import { storedPosition } from '../support/topic-check.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type LogLine, type Worker } from '../support/worker.ts';

const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
const hint = `seed ${seed} (set CRASH_SEED)`;
const random = seededRandom(seed);
const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
const LIMIT = { timeout: 600_000 };

describe('Kafka whose answers to the log poller are lost', () => {
  const later = undoing();

  it('gets every committed change exactly once', LIMIT, async (t) => {
    const site = later(await openSite({ prefix: 'lost_log', direction: 'both' }), (made) => made.drop());
    const { config, mapping, name, topic } = site;
    const [host = '', port] = config.kafka.brokers[0]!.split(':');
    const broker = later(await cuttingProxy(host, Number(port)), (made) => made.close());
    const registry = later(createSchemaRegistry(config.registry), (made) => made.close());
    const encoder = createChangeEncoder(mapping, (await registry.latestId(`${topic}-value`))!);
    const source = later(
      createPostgresLog({
        url: config.postgres.url,
        table: 'public.employees',
        mapping,
        origin: 'postgres',
        pageChanges: 50,
        smallWindowRows: 20,
      }),
      (made) => made.close(),
    );
    let lostAfter = 0;
    const log = createChangeLog({
      kafka: kafkaThrough(broker),
      producerName: 'postgres-log',
      table: name,
      topic,
      partitions: 4,
      deadLetterTopic: `${topic}.dead-letters`,
      positionsTopic: config.topics.positions,
      encode: (change) => encoder.encode(change, Date.now() * 1000),
    });
    /** Now and then the batch is durable, and the caller told that nobody knows. */
    const forgetful: ChangeLog = {
      ...log,
      async publish(batch) {
        await log.publish(batch);
        if (random() > 0.1) return;
        lostAfter += 1;
        throw new TransientError({ code: 'TEST_ANSWER_LOST', message: 'the answer was lost' });
      },
    };
    const stop = new AbortController();
    const running = runPostgresLog(
      {
        table: name,
        source,
        log: forgetful,
        leadership: createLeadership({ url: config.postgres.url }),
        options: { maxBatchChanges: 50, pollMaxMs: 50, backoffMaxMs: 500 },
      },
      stop.signal,
    );
    later(running, async () => {
      stop.abort();
      await running;
    });

    const writers = await historyWriters(site, seed);
    const writing = writers.start(later, 3);
    const cuts = [API.produce, API.addPartitions, API.endTransaction].flatMap((api) => [
      { api, when: 'before' as const },
      { api, when: 'after' as const },
    ]);
    for (let n = 0; n < 10; n++) {
      broker.cut(pick(cuts), pick(cuts), pick(cuts));
      await (n % 2 === 0 ? writers.large(700) : delay(300));
    }
    await writing.stop();
    const last = await writers.last();
    // Not by what the poller was told: of a batch whose answer was lost it hears nothing more.
    await until(
      'everything to be published',
      async () => {
        const position = (await storedPosition(site, 'postgres-log')) as LogProgress | undefined;
        return position?.target === null && sees(position.acknowledged, last);
      },
      { timeoutMs: 180_000, everyMs: 500 },
    );
    stop.abort();
    await running;
    t.diagnostic(
      `${broker.happened} cuts, ${lostAfter} batches whose answer was lost; ${writers.committed.length} changes; ${hint}`,
    );
    assert.ok(broker.happened > 5 && lostAfter > 0);
    await writers.assertPublishedOnce(hint);
  });
});

describe('Postgres and a warehouse whose answers to the merging consumer are lost', () => {
  const later = undoing();
  const LOSSES = 27;

  it('has every change merged exactly once, and no file left behind', LIMIT, async (t) => {
    const site = later(
      await openSite({
        prefix: 'lost_merges',
        direction: 'both',
        settings: {
          delivery: { sessionTimeoutMs: 1500, stoppedRetryMs: 1000 },
          merging: { minAgeMs: 50, maxAgeMs: 1000 },
        },
      }),
      (made) => made.drop(),
    );
    const url = new URL(site.config.postgres.url);
    const postgres = later(await startProxy({ host: url.hostname, port: Number(url.port) }), (made) =>
      made.close(),
    );
    url.host = `127.0.0.1:${postgres.port}`;
    const warehouse = later(await startProxy(site.config.databricks), (made) => made.close());
    const lines: LogLine[] = [];
    const start = (...settings: string[]): Worker => {
      const args = ['--config', site.configFile, '--only', 'delta-merge', ...settings];
      return later(startWorker(args, { onLine: (line) => lines.push(line) }), (made) => made.kill());
    };
    const publisher = later(await site.openPublisher(), (made) => made.close());
    const worker = start('--set', `postgres.url=${url.href}`, '--set', `databricks.port=${warehouse.port}`);

    const said = (text: string) => (request: Buffer) => request.includes(text);
    /** The so-manieth piece from now on; what is encrypted tells no more of itself. */
    const nth = (n: number) => () => n-- === 0;
    const note = said('SET pending = $5');
    const end = said('WITH done AS');
    const losses: readonly { name: string; file?: true; lose: (round: number) => void }[] = [
      { name: 'the note', lose: () => postgres.loseRequests(1, note) },
      { name: 'the answer to the note', lose: () => postgres.loseAnswers(1, note) },
      { name: 'the end', lose: () => postgres.loseRequests(1, end) },
      { name: 'the answer to the end', lose: () => postgres.loseAnswers(1, end) },
      { name: 'the merge', lose: () => warehouse.loseRequests(1, nth(0)) },
      { name: 'an answer to the merge', lose: (round) => warehouse.loseAnswers(1, nth(round % 3)) },
      {
        name: 'the end, and then a request of who finds out',
        lose(round) {
          const before = postgres.lost;
          const later = nth(2 * round);
          postgres.loseRequests(1, end);
          warehouse.loseRequests(1, () => postgres.lost > before && later());
        },
      },
      {
        name: 'a request of a staged one',
        file: true,
        lose: (round) => warehouse.loseRequests(1, nth(round % 3)),
      },
      {
        name: 'an answer of a staged one',
        file: true,
        lose: (round) => warehouse.loseAnswers(1, nth(round % 3)),
      },
    ];
    const changes = capturedChanges(seed, 150);
    const expected = new Map<number, string>();
    /** More than goes with a statement. */
    const wide = (n: number) =>
      Array.from({ length: 50 }, (_, id) =>
        capturedChange(800_000 + id, { op: 'update', name: `${n} ${'x'.repeat(45_000)}` }),
      );

    await publisher.publish(changes.next());
    const happened: string[] = [];
    const lost = (): number => postgres.lost + warehouse.lost;
    for (let n = 0; n < LOSSES; n++) {
      const { name, file, lose } = losses[n % losses.length]!;
      // Now and then the next one strikes while the last is being mended.
      if (file || random() < 0.7) await caughtUp(site, 180_000);
      const before = lost();
      lose(Math.floor(n / losses.length));
      // How many requests a merge takes is the driver's affair: until the one in question was among them.
      while (lost() === before) {
        if (file) {
          await publisher.publish(wide(n));
          for (const { after } of wide(n)) expected.set(Number(after![0]), String(after![1]));
        } else await publisher.publish(changes.next());
        await until(`to lose ${name}`, () => lost() > before, { timeoutMs: 3000, everyMs: 5 }).catch(
          () => undefined,
        );
      }
      happened.push(name);
    }
    await caughtUp(site, 180_000);
    await endsWell(worker);

    const staged = lines.filter(({ msg, sent }) => msg === 'merge ends' && sent === 'staged').length;
    const failures = [
      ...new Set(lines.flatMap(({ error }) => / while ([^(:,]+)/.exec(String(error))?.[1]?.trim() ?? [])),
    ];
    t.diagnostic(
      `${happened.length} losses: ${tally(happened)}; noticed while ${failures.join(', ')}; ` +
        `${changes.total} changes, ${staged} merges by file; ${hint}`,
    );
    assert.ok(staged > 0, 'no merge was staged');
    for (const doing of ['keeping account of merges', 'merging changes', 'staging rows'])
      assert.ok(failures.includes(doing), `nothing was lost while ${doing}`);
    for (const [id, name] of changes.expected) expected.set(id, name);
    await assertInDelta(site, expected, hint);
    await assertMergedOnce(site, lines, hint);

    const sweeper = start();
    await until('the next owner to have looked around', () =>
      sweeper.lines.some(({ msg }) => msg === 'offsets claimed'),
    );
    await endsWell(sweeper);
    const folder = `${site.config.databricks.stagingVolume}/delta-merge.${site.config.databricks.id}.${site.config.postgres.id}.${site.name}`;
    assert.deepEqual(
      await site.warehouse.query({ doing: 'looking', sql: `LIST '${folder}'` }),
      [],
      'a staged file was left behind',
    );
  });
});
