import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openKafka, type KafkaLogger } from '../../../src/connections/kafka/client.ts';

function recorder(): { lines: string[]; logger: KafkaLogger } {
  const lines: string[] = [];
  const at =
    (level: string) =>
    (_: object, message: string): void =>
      void lines.push(`${level} ${message}`);
  return { lines, logger: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') } };
}

test('refused requests, brokers out of reach and the wait for the transaction before are quieted, nothing else', () => {
  const { lines, logger } = recorder();
  const log = openKafka({ brokers: ['127.0.0.1:1'], clientId: 'c', logger }).logger();
  const waiting =
    'The producer attempted to update a transaction while another concurrent operation on the same transaction was ongoing';
  log.error('Response AddPartitionsToTxn(key: 24, version: 1)', { error: waiting });
  log.error(`Failed to send messages: ${waiting}`);
  log.error('Response EndTxn(key: 26, version: 1)', { error: 'The coordinator is not available' });
  log.error('Connection error: connect ECONNREFUSED');
  log.error('Failed to connect to seed broker, trying another broker from the list: Connection error');
  log.error('Corrupted record');
  log.warn('a warning');
  log.info('Consumer has joined the group');
  assert.deepEqual(lines, [
    'debug Response AddPartitionsToTxn(key: 24, version: 1)',
    `debug Failed to send messages: ${waiting}`,
    'debug Response EndTxn(key: 26, version: 1)',
    'debug Connection error: connect ECONNREFUSED',
    'debug Failed to connect to seed broker, trying another broker from the list: Connection error',
    'error Corrupted record',
    'warn a warning',
    'debug Consumer has joined the group',
  ]);
});
