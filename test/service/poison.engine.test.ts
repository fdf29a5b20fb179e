import assert from 'node:assert/strict';
import type { Message } from 'kafkajs';
import { after, before, describe, it } from 'node:test';
import {
  employeeChange,
  openRecords,
  type FoundLetter,
  type FoundVersion,
  type Records,
} from '../support/records.ts';
import { QUICK, startService, type RunningService } from '../support/service.ts';
import { openSite, type Site } from '../support/site.ts';
import { until } from '../support/until.ts';

const DAY_MICROS = 24 * 60 * 60 * 1_000_000;

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
    says: /poison_\w+, key "\d+": .*/,
    record: (records, id) => {
      const { key, value } = records.of(employeeChange(id));
      return { key, value: value.subarray(0, 12) };
    },
  },
  {
    name: 'bytes behind the end of a change',
    code: 'UNDECODABLE',
    says: /poison_\w+, key "\d+": .*/,
    record: (records, id) => {
      const { key, value } = records.of(employeeChange(id));
      return { key, value: Buffer.concat([value, Buffer.from('more')]) };
    },
  },
  {
    name: 'a value that is not in Confluent’s format',
    code: 'NOT_CONFLUENT',
    says: /without the header of a schema registry record/,
    record: (_, id) => ({ key: String(id), value: '{"emp_id": 1}' }),
  },
  {
    name: 'a schema id that the registry does not know',
    code: 'UNKNOWN_SCHEMA',
    says: /no schema 1999999999, though it has \d+ of .*-value/,
    record: (records, id) => {
      const { key, value } = records.of(employeeChange(id));
      value.writeUInt32BE(1_999_999_999, 1);
      return { key, value };
    },
  },
  {
    name: 'no key',
    code: 'KEY_MISSING',
    says: /record without a key on topic/,
    record: (records, id) => ({ key: null, value: records.of(employeeChange(id)).value }),
  },
  {
    name: 'no value',
    code: 'VALUE_MISSING',
    says: /record without a value on topic/,
    record: (_, id) => ({ key: String(id), value: null }),
  },
  {
    name: 'a key that is not that of the row',
    code: 'KEY_MISMATCH',
    says: /key "77777777": its row has the key "\d+"/,
    record: (records, id) => ({ key: '77777777', value: records.of(employeeChange(id)).value }),
  },
  {
    name: 'a value out of the range of the column at the database',
    code: 'POSTGRES_22003',
    says: /numeric field overflow.*SQLSTATE 22003/,
    record: (records, id) => records.of(employeeChange(id, { salary: '9999999999.99' })),
  },
  {
    name: 'a value that a CHECK of the table refuses',
    code: 'POSTGRES_23514',
    says: /employees.*violates check constraint.*constraint decent/,
    record: (records, id) => records.of(employeeChange(id, { name: 'Nobody' })),
  },
  {
    name: 'a null in a column that has none',
    code: 'POSTGRES_23502',
    says: /null value in column "name".*column name/,
    record: (records, id) => records.of(employeeChange(id, { after: [id, null, '1.00'] })),
  },
  {
    name: 'text that Postgres cannot store',
    code: 'VALUE_INVALID',
    says: /NUL/i,
    record: (records, id) => records.of(employeeChange(id, { name: 'a\0b' })),
  },
  {
    name: 'an event time in the future',
    code: 'EVENT_IN_FUTURE',
    says: /key \d+: its event time \d{4}-.* ahead/,
    record: (records, id) => records.of(employeeChange(id, { ts: Date.now() * 1000 + DAY_MICROS })),
  },
];

/** Case `n` has the key `1000 + n`, of which there are a version before the poison and one after. */
const keyOfCase = (n: number) => 1000 + n;

describe('poison', () => {
  let site: Site;
  let records: Records;
  let service: RunningService | undefined;
  let poison: Message[];
  let letters: FoundLetter[];
  let history: FoundVersion[];
  const began = Date.now() * 1000;

  before(async () => {
    site = await openSite({ prefix: 'poison', partitions: 1, settings: QUICK });
    records = await openRecords(site);
    await site.pool.query(
      `ALTER TABLE public.employees ALTER COLUMN salary TYPE numeric(8,2), ALTER COLUMN name SET NOT NULL,
       ADD CONSTRAINT decent CHECK (name <> 'Nobody')`,
    );
    poison = CASES.map(({ record }, n) => record(records, keyOfCase(n)));
    const neighbour = (n: number, name: string, seconds: number) =>
      records.of(employeeChange(keyOfCase(n), { name, ts: began - 100_000_000 + seconds * 1_000_000 }));
    const all = poison.flatMap((bad, n) => [neighbour(n, 'before', 1), bad, neighbour(n, 'after', 2)]);
    // All of it in one request, and so in one fetch and one applying transaction, were it not for the poison.
    await records.produce(all);
    service = await startService(site.config, { roles: ['postgres-history'] });
    await until('the backlog to be gone', async () => (await records.backlog()) === 0n);
    letters = await records.deadLetters();
    history = await records.history();
  });

  after(async () => {
    await service?.stop();
    await records?.close();
    await site?.drop();
  });

  CASES.forEach(({ name, code, says }, n) => {
    it(`${name}: set aside as ${code} with its cause and its bytes, the records around it applied`, () => {
      const offset = String(n * 3 + 1);
      const found = letters.filter((letter) => letter.headers['offset'] === offset);
      assert.equal(found.length, 1, `letters: ${JSON.stringify(letters.map(({ headers }) => headers))}`);
      const { key, value, headers } = found[0]!;
      const { 'error.message': message, 'first.seen': firstSeen, ...rest } = headers;
      assert.deepEqual(rest, { 'error.code': code, topic: site.topic, partition: '0', offset });
      assert.match(message ?? '', says);
      assert.ok(
        Number(firstSeen) >= began && Number(firstSeen) <= Date.now() * 1000,
        `first seen ${firstSeen}`,
      );
      const bytes = (given: Message['key'] | Message['value']) =>
        given === null || given === undefined ? null : Buffer.from(given as string);
      assert.deepEqual(key, bytes(poison[n]!.key));
      assert.deepEqual(value, bytes(poison[n]!.value));
      assert.deepEqual(
        history.filter(({ id }) => id === keyOfCase(n)).map((version) => [version.name, version.active]),
        [
          ['before', false],
          ['after', true],
        ],
      );
    });
  });

  it('sets nothing else aside, and applies nothing twice', () => {
    assert.equal(letters.length, CASES.length);
    assert.equal(history.length, CASES.length * 2);
  });

  it('goes on as ready, says what was set aside and has no lag', async () => {
    const health = await service!.readyz();
    assert.equal(health.status, 200, JSON.stringify(health));
    assert.equal(await service!.metric('deltaferry_partition_lag_records', { partition: '0' }), 0);
    for (const code of new Set(CASES.map((one) => one.code)))
      assert.equal(
        await service!.metric('deltaferry_dead_letters_total', { code, table: site.name }),
        CASES.filter((one) => one.code === code).length,
        code,
      );
    assert.equal(await service!.metric('deltaferry_changes_applied_total'), CASES.length * 2);
    const told = service!.lines.filter(({ msg }) => msg === 'record dead-lettered');
    assert.equal(told.length, CASES.length);
    assert.ok(told.every(({ code, error, partition, offset }) => code && error && partition === 0 && offset));
  });

  it('passes a batch of nothing but poison', async () => {
    const bad = (id: number): Message => ({ key: String(id), value: 'not ours' });
    await records.produce([bad(1), bad(2), bad(3)]);
    await until('the backlog to be gone', async () => (await records.backlog()) === 0n);
    assert.equal((await records.deadLetters()).length, CASES.length + 3);
    assert.equal((await records.history()).length, CASES.length * 2);
  });
});
