import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { SchemaRegistry } from '@kafkajs/confluent-schema-registry';
import { changeSchema, createChangeEncoder } from '../../../src/change/avro.ts';
import type { TableMapping } from '../../../src/change/table.ts';
import { createSchemaRegistry } from '../../../src/connections/registry/schemas.ts';
import { testStack } from '../../support/stack.ts';

const EMPLOYEES: TableMapping = {
  name: 'employees',
  key: ['emp_id'],
  columns: [
    { name: 'emp_id', type: { name: 'bigint' } },
    { name: 'name', type: { name: 'text' } },
    { name: 'salary', type: { name: 'numeric', precision: 12, scale: 2 } },
  ],
};

// What others read from the topic they read with their own client: a record that only we could read is lost to them.
test("Confluent's client for KafkaJS finds the schema and decodes a record", async () => {
  const { url } = testStack().registry;
  const subject = `confluent-${randomUUID()}-value`;
  const id = await createSchemaRegistry({ url }).register(subject, changeSchema(EMPLOYEES));
  const value = createChangeEncoder(EMPLOYEES, id).encode(
    {
      op: 'update',
      key: '10001',
      before: null,
      after: [10_001, 'Zoë 李', '60117.05'],
      origin: 'delta',
      table: 'employees',
      position: 7,
      ts: 1_700_000_000_123_456,
      tx: null,
      load: null,
    },
    1_700_000_000_200_000,
  );
  const read = (await new SchemaRegistry({ host: url }).decode(value)) as Record<string, unknown>;
  const after = read['after'] as Record<string, unknown>;
  assert.equal(read['op'], 'update');
  assert.equal(read['ts'], 1_700_000_000_123_456);
  assert.equal(after['emp_id'], 10_001);
  assert.equal(after['name'], 'Zoë 李');
  assert.equal(BigInt(`0x${(after['salary'] as Buffer).toString('hex')}`), 6_011_705n);
});
