import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import kafkajs from 'kafkajs';
import { partitionOf } from '../../../src/connections/kafka/partitioner.ts';

// A key that moved to another partition would be applied out of order with its older changes.
test('a key lands where every Kafka client would put it', () => {
  const theirs = kafkajs.Partitioners.DefaultPartitioner();
  fc.assert(
    fc.property(
      fc.oneof(fc.string({ unit: 'binary' }), fc.bigInt().map(String)),
      fc.integer({ min: 1, max: 100 }),
      (text, partitions) => {
        const key = Buffer.from(text);
        const partitionMetadata = Array.from({ length: partitions }, (_, partitionId) => ({
          partitionId,
          leader: 1,
          partitionErrorCode: 0,
          replicas: [],
          isr: [],
        }));
        assert.equal(
          partitionOf(key, partitions),
          theirs({ topic: 't', partitionMetadata, message: { key, value: null } }),
        );
      },
    ),
    { numRuns: 1000 },
  );
});
