import assert from 'node:assert/strict';
import type { Message } from 'kafkajs';
import { after, before, describe, it } from 'node:test';
import { loadConfig } from '../../src/service/config/load.ts';
import { capturedChange, inDelta, namesInDelta, untilMerged } from '../support/merge-table.ts';
import { openRecords, type FoundLetter, type Records } from '../support/records.ts';
import { QUICK, startService, type RunningService } from '../support/service.ts';
import { openSite, type Site } from '../support/site.ts';
import { until } from '../support/until.ts';

const ROLES = { roles: ['delta-merge'] } as const;

interface PoisonCase {
  readonly name: string;
  readonly code: string;
  /** What the message must say: enough to find the cause without looking at the bytes. */
  readonly says: RegExp;
  readonly record: (records: Records, id: number) => Message;
}

const CASES: readonly PoisonCase[] = [
  {
    name: 'bytes that do not decode',
    code: 'UNDECODABLE',
    says: /mergepoison_\w+, key "\d+": .*/,
    record: (records, id) => {
      const { key, value } = records.of(capturedChange(id));
      return { key, value: value.subarray(0, 12) };
    },
  },
  {
    name: 'a schema id that the registry does not know',
    code: 'UNKNOWN_SCHEMA',
    says: /no schema 1999999999, though it has \d+ of .*-value/,
    record: (records, id) => {
      const { key, value } = records.of(capturedChange(id));
      value.writeUInt32BE(1_999_999_999, 1);
      return { key, value };
    },
  },
  {
    name: 'no key',
    code: 'KEY_MISSING',
    says: /record without a key on topic/,
    record: (records, id) => ({ key: null, value: records.of(capturedChange(id)).value }),
  },
  {
    name: 'a value that a CHECK of the table refuses',
    code: 'DELTA_VALUE_REFUSED',
    says: /employees.*decent/is,
    record: (records, id) => records.of(capturedChange(id, { name: 'Nobody' })),
  },
  {
    name: 'a null where a CHECK of the table needs a value',
    code: 'DELTA_VALUE_REFUSED',
    says: /employees.*decent/is,
    record: (records, id) => records.of(capturedChange(id, { after: [id, null, '1.00'] })),
  },
];

/** What this consumer needs in Postgres: a superuser would never lack it. */
const GRANTS = (role: string) => `
  GRANT USAGE ON SCHEMA deltaferry TO ${role};
  GRANT SELECT ON deltaferry.migrations TO ${role};
  GRANT SELECT, INSERT, UPDATE ON deltaferry.offsets, deltaferry.merge_marks TO ${role};`;

const keyOfCase = (n: number) => 1000 + n;

describe('records that can never be merged', () => {
  let site: Site;
  let records: Records;
  let service: RunningService | undefined;
  let poison: Message[];
  let letters: FoundLetter[];
  let names: ReadonlyMap<number, string | null>;
  const began = Date.now() * 1000;

  before(async () => {
    site = await openSite({ prefix: 'mergepoison', partitions: 1, direction: 'both', settings: QUICK });
    records = await openRecords(site);
    await inDelta(site, `ALTER TABLE TABLE_NAME ADD CONSTRAINT decent CHECK (name <> 'Nobody')`);
    poison = CASES.map(({ record }, n) => record(records, keyOfCase(n)));
    // Each key has a change before its poison and none behind it; 2000 + n are neighbours of other keys.
    const all = poison.flatMap((bad, n) => [
      records.of(capturedChange(keyOfCase(n), { name: 'before' })),
      bad,
      records.of(capturedChange(2000 + n, { name: 'neighbour' })),
    ]);
    // All of it in one request, and so in one merge, were it not for the poison.
    await records.produce(all);
    service = await startService(site.config, ROLES);
    await untilMerged(records.backlog, service);
    letters = await records.deadLetters();
    names = await namesInDelta(site);
  });

  after(async () => {
    await service?.stop();
    await records?.close();
    await site?.drop();
  });

  CASES.forEach(({ name, code, says }, n) => {
    it(`${name}: set aside as ${code} with its cause and its bytes, the records around it merged`, () => {
      const offset = String(n * 3 + 1);
      const found = letters.filter((letter) => letter.headers['offset'] === offset);
      assert.equal(found.length, 1, `letters: ${JSON.stringify(letters.map(({ headers }) => headers))}`);
      const { key, value, headers } = found[0]!;
      const { 'error.message': message, 'first.seen': firstSeen, ...rest } = headers;
      assert.deepEqual(rest, { 'error.code': code, topic: site.topic, partition: '0', offset });
      assert.match(message ?? '', says);
      assert.ok(Number(firstSeen) >= began && Number(firstSeen) <= Date.now() * 1000, firstSeen);
      const bytes = (given: Message['key'] | Message['value']) =>
        given === null || given === undefined ? null : Buffer.from(given as string);
      assert.deepEqual([key, value], [bytes(poison[n]!.key), bytes(poison[n]!.value)]);
      assert.equal(names.get(keyOfCase(n)), 'before');
      assert.equal(names.get(2000 + n), 'neighbour');
    });
  });

  it('sets nothing else aside, goes on as ready and has no lag', async () => {
    assert.equal(letters.length, CASES.length);
    const health = await service!.readyz();
    assert.equal(health.status, 200, JSON.stringify(health));
    assert.equal(await service!.metric('deltaferry_partition_lag_records', { partition: '0' }), 0);
    assert.equal(await service!.metric('deltaferry_dead_letters_total'), CASES.length);
    assert.equal(await service!.metric('deltaferry_changes_applied_total'), CASES.length * 2);
  });
});

describe('what is not poison stops the merging consumer', () => {
  let site: Site;
  let records: Records;
  let service: RunningService | undefined;
  let role: string;
  let lastKey = 0;

  before(async () => {
    site = await openSite({ prefix: 'mergemend', partitions: 1, direction: 'both', settings: QUICK });
    records = await openRecords(site);
    role = `${site.name}_service`;
    await site.pool.query(`CREATE ROLE ${role} LOGIN PASSWORD 'only here'`);
    await site.pool.query(GRANTS(role));
    const url = new URL(site.config.postgres.url);
    url.username = role;
    url.password = 'only here';
    const overrides = { 'postgres.url': url.href };
    service = await startService(await loadConfig({ file: site.configFile, env: {}, overrides }), ROLES);
    await merged(await produce());
  });

  after(async () => {
    await service?.stop();
    await records?.close();
    await site?.pool.query(`DROP OWNED BY ${role}`);
    await site?.pool.query(`DROP ROLE ${role}`);
    await site?.drop();
  });

  async function produce(): Promise<number[]> {
    const keys = Array.from({ length: 5 }, () => (lastKey += 1));
    await records.produce(keys.map((key) => records.of(capturedChange(key))));
    return keys;
  }

  async function merged(keys: readonly number[]): Promise<void> {
    await untilMerged(records.backlog, service!);
    const found = await namesInDelta(site);
    assert.ok(keys.every((key) => found.get(key) === `Employee ${key}`));
  }

  const breaks: readonly {
    readonly name: string;
    readonly code: RegExp;
    readonly remedy: RegExp;
    readonly damage: () => Promise<unknown>;
    readonly mend: () => Promise<unknown>;
  }[] = [
    {
      name: 'a target that was dropped',
      code: /DELTA_TABLE_MISSING/,
      remedy: /^Create mergemend_\w+\.employees \(`deltaferry setup` checks it\)/,
      damage: () => inDelta(site, 'DROP TABLE TABLE_NAME'),
      mend: () =>
        inDelta(
          site,
          'CREATE TABLE TABLE_NAME (emp_id BIGINT, name STRING, salary DECIMAL(12,2)) USING DELTA TBLPROPERTIES (delta.enableChangeDataFeed = true)',
        ),
    },
    {
      name: 'a target that lost a column',
      code: /DELTA_COLUMN_MISSING/,
      remedy: /salary|column/i,
      damage: () =>
        inDelta(site, 'CREATE OR REPLACE TABLE TABLE_NAME (emp_id BIGINT, name STRING) USING DELTA'),
      mend: () => inDelta(site, 'ALTER TABLE TABLE_NAME ADD COLUMNS (salary DECIMAL(12,2))'),
    },
    {
      name: 'a revoked grant on the control schema',
      code: /POSTGRES_42501/,
      remedy: /^Grant role mergemend_\w+_service what the message names/,
      damage: () => site.pool.query(`REVOKE UPDATE ON deltaferry.offsets FROM ${role}`),
      mend: () => site.pool.query(`GRANT UPDATE ON deltaferry.offsets TO ${role}`),
    },
    {
      name: 'a control schema that lacks its table',
      code: /POSTGRES_42P01/,
      remedy: /deltaferry setup/,
      damage: () => site.pool.query('ALTER TABLE deltaferry.merge_marks RENAME TO elsewhere'),
      mend: () => site.pool.query('ALTER TABLE deltaferry.elsewhere RENAME TO merge_marks'),
    },
  ];

  for (const { name, code, remedy, damage, mend } of breaks)
    it(`${name}: stops with the remedy, sets nothing aside, goes on by itself once mended`, async () => {
      await until('the service to be ready', async () => (await service!.readyz()).status === 200);
      await damage();
      const keys = await produce();
      try {
        const part = await until('readiness to say so', async () => {
          const { status, parts } = await service!.readyz();
          const found = parts[`delta-merge/${site.name}/0`];
          return status === 503 && found?.state === 'stopped' && found;
        });
        assert.match(part.code ?? '', code);
        assert.match(part.remedy ?? '', remedy);
        assert.ok((await records.backlog()) > 0n);
      } finally {
        await mend();
      }
      await merged(keys);
      assert.deepEqual(await records.deadLetters(), []);
    });
});
