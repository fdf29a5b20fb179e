import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { createSchemaRegistry, type SchemaRegistry } from '../../../src/connections/registry/schemas.ts';
import { OperatorError, PoisonError } from '../../../src/errors.ts';
import { testStack } from '../../support/stack.ts';

describe('schema registry on the stack', () => {
  const subject = `test-${randomUUID()}-value`;
  const fields = [{ name: 'x', type: 'int' }];
  const schema = { type: 'record', name: 'r', fields };
  const wider = { ...schema, fields: [...fields, { name: 'y', type: ['null', 'string'], default: null }] };
  const broken = { ...schema, fields: [{ name: 'x', type: 'string' }] };
  let registry: SchemaRegistry;
  before(() => {
    registry = createSchemaRegistry(testStack().registry);
  });
  after(() => registry.close());

  it('knows nothing of a subject before it is registered', async () => {
    assert.equal(await registry.latest(subject), null);
    assert.equal(await registry.latestId(subject), null);
    assert.equal(await registry.compatibility(subject), null);
    assert.equal(await registry.incompatibility(subject, schema), null);
  });

  it('registers a schema once and finds it again under its id', async () => {
    const id = await registry.register(subject, schema);
    assert.equal(await registry.register(subject, schema), id);
    assert.deepEqual(await registry.latest(subject), { id, version: 1, schema });
    assert.deepEqual(await registry.schemaById(id), schema);
  });

  it('holds a subject to its compatibility', async () => {
    await registry.setCompatibility(subject, 'FULL_TRANSITIVE');
    assert.equal(await registry.compatibility(subject), 'FULL_TRANSITIVE');
    assert.equal(await registry.incompatibility(subject, wider), null);
    assert.equal(typeof (await registry.incompatibility(subject, broken)), 'string');
    await assert.rejects(registry.register(subject, broken), (error) => {
      assert.ok(error instanceof OperatorError && error.code === 'SCHEMA_INCOMPATIBLE');
      assert.ok(error.message.includes(subject));
      return true;
    });
    const id = await registry.register(subject, wider);
    assert.deepEqual(await registry.latest(subject), { id, version: 2, schema: wider });
  });

  it('takes the same from several at once: their subjects end as one', async () => {
    for (let round = 0; round < 10; round += 1) {
      const shared = `test-${randomUUID()}-value`;
      const same = { ...schema, name: `r${round}${randomUUID().slice(0, 8)}` };
      await Promise.all([1, 2, 3, 4].map(() => registry.setCompatibility(shared, 'FULL_TRANSITIVE')));
      const ids = await Promise.all([1, 2, 3, 4].map(() => registry.register(shared, same)));
      assert.equal(new Set(ids).size, 1);
      assert.equal(await registry.compatibility(shared), 'FULL_TRANSITIVE');
      assert.equal((await registry.latest(shared))?.version, 1);
    }
  });

  it('tells a foreign id from a wiped registry', async () => {
    await assert.rejects(registry.schemaById(0x7ffffff0, subject), PoisonError);
    await assert.rejects(registry.schemaById(0xfffffff0, subject), PoisonError);
    await assert.rejects(registry.schemaById(0x7ffffff0, `${subject}-gone`), OperatorError);
  });
});
