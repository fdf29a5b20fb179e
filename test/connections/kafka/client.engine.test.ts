import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openKafka } from '../../../src/connections/kafka/client.ts';
import { testStack } from '../../support/stack.ts';

// kafkajs arms a timer with a negative time after each request (its issue 1751): Node warns, and wakes up
// every millisecond.
test('no negative timeouts', async () => {
  const warnings: string[] = [];
  const note = (warning: Error): void => void warnings.push(warning.name);
  process.on('warning', note);
  const admin = openKafka({ brokers: testStack().kafka.brokers, clientId: 'c' }).admin();
  await admin.connect();
  await admin.listTopics();
  await admin.disconnect();
  process.off('warning', note);
  assert.deepEqual(warnings, []);
});
