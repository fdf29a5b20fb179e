import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createChangeEncoder } from '../../src/change/avro.ts';
import { createDeltaSource } from '../../src/connections/databricks/delta-source.ts';
import { createChangeLog } from '../../src/connections/kafka/change-log.ts';
import { createDeadLetters } from '../../src/connections/kafka/dead-letters.ts';
import { createRecordStream } from '../../src/connections/kafka/record-stream.ts';
import { createHistorySink } from '../../src/connections/postgres/history-sink.ts';
import { createLeadership } from '../../src/connections/postgres/leadership.ts';
import { createSchemaRegistry } from '../../src/connections/registry/schemas.ts';
import { createPostgresHistory } from '../../src/consumers/postgres-history.ts';
import { TransientError } from '../../src/errors.ts';
import type { ChangeLog } from '../../src/ports/change-log.ts';
import type { HistorySink } from '../../src/ports/history-sink.ts';
import { runDeltaFeed } from '../../src/producers/delta-feed.ts';
import { API, cuttingProxy, kafkaThrough, type CuttingProxy } from '../connections/kafka/cutting-proxy.ts';
import { endsWell } from '../support/ends-well.ts';
import { createChangeGenerator, seededRandom } from '../support/change-generator.ts';
import { createDeltaCommits } from '../support/delta-commits.ts';
import { assertHistory, caughtUp } from '../support/history-check.ts';
import { startProxy, statement, type Proxy } from '../support/proxy.ts';
import { assertChangeShares, assertShares } from '../support/shares.ts';
import { openSite, type Site } from '../support/site.ts';
import { assertPublished, committedRecords, storedPosition } from '../support/topic-check.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker } from '../support/worker.ts';

const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
const hint = `seed ${seed} (set CRASH_SEED)`;
const random = seededRandom(seed);
const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;

/** Nothing here should hang; if it does, the test says so. */
const LIMIT = { timeout: 600_000 };

const QUICK = {
  delivery: { sessionTimeoutMs: 1500, stoppedRetryMs: 1000, lockTimeoutMs: 500 },
  batching: { maxBatchChanges: 300, maxChangesPerTransaction: 100 },
  polling: { maxMs: 200 },
};

const toPostgres = ({ config }: Site): Promise<Proxy> => {
  const { hostname, port } = new URL(config.postgres.url);
  return startProxy({ host: hostname, port: Number(port) });
};

function through(proxy: Proxy, address: string): string {
  const url = new URL(address);
  url.host = `127.0.0.1:${proxy.port}`;
  return url.href;
}

describe('Postgres whose answers are lost', () => {
  const later = undoing();
  const LOSSES = 30;

  it('has every change exactly once', LIMIT, async (t) => {
    const site = later(await openSite({ prefix: 'lost_postgres', settings: QUICK }), (made) => made.drop());
    const proxy = later(await toPostgres(site), (made) => made.close());
    const generator = createChangeGenerator({ seed, table: site.name, keys: 200 });
    const publisher = later(await site.openPublisher(), (made) => made.close());
    const url = through(proxy, site.config.postgres.url);
    const worker = later(
      startWorker([
        '--config',
        site.configFile,
        '--only',
        'postgres-history',
        '--set',
        `postgres.url=${url}`,
      ]),
      (made) => made.kill(),
    );
    const kinds = [
      () => proxy.loseAnswers(1, statement('COMMIT')),
      () => proxy.loseRequests(1, statement('COMMIT')),
      () => proxy.loseAnswers(1),
    ];
    await publisher.publish(generator.next(100));
    await caughtUp(site, 180_000);
    let armed = 0;
    while (proxy.lost < LOSSES) {
      await publisher.publish(generator.next(20));
      await delay(20);
      if (proxy.lost < armed) continue;
      pick(kinds)();
      armed += 1;
    }
    await caughtUp(site, 180_000);
    await endsWell(worker);
    const unknown = worker.lines.filter(({ code }) => code === 'COMMIT_UNKNOWN').length;
    t.diagnostic(
      `${proxy.lost} losses, ${unknown} of them a COMMIT in doubt; ${generator.shares.total} changes; ${hint}`,
    );
    assert.ok(unknown > 0);
    assertChangeShares(generator.shares);
    await assertHistory(site, generator.all, hint);
  });
});

describe('Kafka whose answers are lost', () => {
  const later = undoing();
  let broker: CuttingProxy;

  before(async () => {
    const { config } = later(await openSite({ prefix: 'lost_nothing' }), (made) => made.drop());
    const [host = '', port] = config.kafka.brokers[0]!.split(':');
    broker = later(await cuttingProxy(host, Number(port)), (made) => made.close());
  });

  it('gets each change of the Delta feed exactly once', LIMIT, async (t) => {
    const site = later(await openSite({ prefix: 'lost_feed' }), (made) => made.drop());
    const { config, mapping, name, topic, warehouse } = site;
    const commits = createDeltaCommits({ warehouse, table: site.deltaTable, seed });
    const registry = later(createSchemaRegistry(config.registry), (made) => made.close());
    const encoder = createChangeEncoder(mapping, (await registry.latestId(`${topic}-value`))!);
    let lostAfter = 0;
    const log = createChangeLog({
      kafka: kafkaThrough(broker),
      producerName: 'delta-feed',
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
        if (random() > 0.2) return;
        lostAfter += 1;
        throw new TransientError({ code: 'TEST_ANSWER_LOST', message: 'the answer was lost' });
      },
    };
    const stop = new AbortController();
    const running = runDeltaFeed(
      {
        mapping,
        origin: 'delta',
        source: createDeltaSource({ client: warehouse, table: site.deltaTable, mapping }),
        log: forgetful,
        leadership: createLeadership({ url: config.postgres.url }),
        options: { maxBatchChanges: 50, pollMaxMs: 200, backoffMaxMs: 500 },
      },
      stop.signal,
    );
    later(running, async () => {
      stop.abort();
      await running;
    });
    const cuts = [API.produce, API.addPartitions, API.endTransaction].flatMap((api) => [
      { api, when: 'before' as const },
      { api, when: 'after' as const },
    ]);
    const before = broker.happened;
    for (let n = 0; n < 7; n++) {
      broker.cut(pick(cuts), pick(cuts), pick(cuts));
      await (n % 3 === 1 ? commits.large(1000) : commits.mixed());
    }
    // Not by what the feed was told: of a batch whose answer was lost it hears nothing more.
    await until(
      'everything to be published',
      async () => {
        const position = await storedPosition(site);
        return position?.['version'] === commits.version && position['groups'] === 0;
      },
      { timeoutMs: 180_000, everyMs: 500 },
    );
    stop.abort();
    await running;
    t.diagnostic(
      `${broker.happened - before} cuts, ${lostAfter} batches whose answer was lost; ${commits.changes.length} changes; ${hint}`,
    );
    assert.ok(broker.happened > before && lostAfter > 0);
    assertShares(commits.shares);
    await assertPublished(site, commits, hint);
  });

  it(
    'gives each change to the history exactly once, and a dead letter does not hold it up',
    LIMIT,
    async (t) => {
      const site = later(await openSite({ prefix: 'lost_records' }), (made) => made.drop());
      const { config, mapping, topic, pool } = site;
      const kafka = kafkaThrough(broker);
      const registry = later(createSchemaRegistry(config.registry), (made) => made.close());
      const deadLetters = later(createDeadLetters({ kafka, topic: `${topic}.dead-letters` }), (made) =>
        made.close(),
      );
      const sink = createHistorySink({
        pool,
        group: site.name,
        topic,
        table: mapping,
        historyTable: 'public.employees',
        origin: 'delta',
      });
      let lostAfter = 0;
      /** Now and then the batch is durable, and the caller told that nobody knows. */
      const forgetful: HistorySink = {
        ...sink,
        async apply(batch) {
          const applied = await sink.apply(batch);
          if (random() > 0.2) return applied;
          lostAfter += 1;
          throw new TransientError({ code: 'TEST_ANSWER_LOST', message: 'the answer was lost' });
        },
      };
      const letters: bigint[] = [];
      const handler = createPostgresHistory({
        topic,
        table: mapping,
        origin: 'postgres',
        sink: forgetful,
        deadLetters,
        schemas: { schemaById: (id) => registry.schemaById(id, `${topic}-value`) },
        maxBatchChanges: 100,
        maxRetryMs: 500,
        onDeadLetter: ({ offset }) => letters.push(offset),
      });
      const stop = new AbortController();
      const running = createRecordStream({ kafka, groupId: site.name, topic, sessionTimeoutMs: 1500 }).run(
        handler,
        stop.signal,
      );
      later(running, async () => {
        stop.abort();
        await running;
      });

      const generator = createChangeGenerator({ seed, table: site.name, keys: 200 });
      const publisher = later(await site.openPublisher(), (made) => made.close());
      const cuts = [API.fetch, API.heartbeat].flatMap((api) => [
        { api, when: 'before' as const },
        { api, when: 'after' as const },
      ]);
      const before = broker.happened;
      for (let n = 0; n < 25; n++) {
        await publisher.publish(generator.next(200));
        if (n % 2 === 0) broker.cut(pick(cuts));
        await delay(20);
      }
      await caughtUp(site, 180_000);
      assertChangeShares(generator.shares);
      await assertHistory(site, generator.all, hint);

      // Its letter is written, the answer lost: it may be written twice, and everything else goes on.
      broker.cut({ api: API.produce, when: 'after' });
      const producer = later(site.kafka.producer({ createPartitioner: () => () => 0 }), (made) =>
        made.disconnect(),
      );
      await producer.connect();
      await producer.send({ topic, messages: [{ key: '1', value: 'not a change' }] });
      await until('the letter to be acknowledged', () => letters.length === 1);
      await publisher.publish(generator.next(200));
      await caughtUp(site, 180_000);
      stop.abort();
      await running;
      const written = [...(await committedRecords(site.kafka, `${topic}.dead-letters`)).values()].flat();
      assert.ok(
        written.length >= 1 &&
          written.length <= 2 &&
          written.every(({ value }) => Buffer.from(value!).toString() === 'not a change'),
      );
      t.diagnostic(
        `${broker.happened - before} cuts, ${lostAfter} batches whose answer was lost; ` +
          `${generator.shares.total} changes; the dead letter was written ${written.length} times; ${hint}`,
      );
      assert.ok(broker.happened > before && lostAfter > 0);
    },
  );
});
