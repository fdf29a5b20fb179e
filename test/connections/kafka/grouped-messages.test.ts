import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Message } from 'kafkajs';
import { GroupedMessages } from '../../../src/connections/kafka/grouped-messages.ts';

type Group = (input: {
  topic: string;
  partitionMetadata: readonly unknown[];
  messages: readonly Message[];
  partitioner: (input: { message: Message }) => number;
}) => Record<string, Message[]>;
const group = createRequire(import.meta.url)('kafkajs/src/producer/groupMessagesPerPartition.js') as Group;

// A message in another partition, or in another order, would be applied out of order.
test('kafkajs groups these messages as it groups any other, only faster', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 9 })), (partitions) => {
      const plain = partitions.map((partition, at) => ({ key: `k${at}`, value: `v${at}`, partition }));
      const grouped = GroupedMessages.from(plain);
      assert.ok(grouped instanceof GroupedMessages);
      const grouping = {
        topic: 't',
        partitionMetadata: [{}],
        partitioner: ({ message }: { message: Message }) => message.partition ?? 0,
      };
      assert.deepEqual(group({ ...grouping, messages: grouped }), group({ ...grouping, messages: plain }));
    }),
  );
});
