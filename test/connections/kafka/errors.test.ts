import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { describe, test } from 'node:test';
import { translateKafka } from '../../../src/connections/kafka/errors.ts';
import { PoisonError, type ErrorKind } from '../../../src/errors.ts';

const require = createRequire(import.meta.url);
const { createErrorFromCode } = require('kafkajs/src/protocol/error.js') as {
  createErrorFromCode: (code: number) => Error;
};
const kafkajs = require('kafkajs/src/errors.js') as Record<string, new (...args: unknown[]) => Error>;

function made(name: string, ...args: unknown[]): Error {
  const Class = kafkajs[name];
  assert.ok(Class, name);
  return new Class(...args);
}
const retried = (error: Error): Error =>
  made('KafkaJSNumberOfRetriesExceeded', error, { retryCount: 5, retryTime: 10, cause: error });

describe('what kafkajs throws is told apart', () => {
  const cases: { name: string; error: unknown; kind: ErrorKind; code: string; names?: RegExp }[] = [
    { name: 'invalid producer epoch', error: createErrorFromCode(47), kind: 'fenced', code: 'KAFKA_FENCED' },
    { name: 'producer fenced', error: createErrorFromCode(90), kind: 'fenced', code: 'KAFKA_FENCED' },
    {
      name: 'invalid transaction state',
      error: createErrorFromCode(48),
      kind: 'fenced',
      code: 'KAFKA_FENCED',
    },
    {
      name: 'message too large',
      error: createErrorFromCode(10),
      kind: 'operator',
      code: 'KAFKA_RECORD_TOO_LARGE',
      names: /changes.*max\.message\.bytes|max\.message\.bytes.*changes/s,
    },
    {
      name: 'record list too large',
      error: createErrorFromCode(18),
      kind: 'operator',
      code: 'KAFKA_RECORD_TOO_LARGE',
    },
    {
      name: 'unknown topic after retries',
      error: retried(createErrorFromCode(3)),
      kind: 'operator',
      code: 'KAFKA_TOPIC_MISSING',
      names: /deltaferry setup/,
    },
    {
      name: 'topic grant',
      error: createErrorFromCode(29),
      kind: 'operator',
      code: 'KAFKA_DENIED',
      names: /topic changes/,
    },
    {
      name: 'group grant',
      error: createErrorFromCode(30),
      kind: 'operator',
      code: 'KAFKA_DENIED',
      names: /group g/,
    },
    {
      name: 'credentials',
      error: made('KafkaJSSASLAuthenticationError', 'SASL PLAIN authentication failed'),
      kind: 'operator',
      code: 'KAFKA_AUTHENTICATION',
      names: /kafka\.sasl/,
    },
    {
      name: 'certificate',
      error: retried(
        made('KafkaJSConnectionError', 'Connection error: self-signed certificate', {
          code: 'DEPTH_ZERO_SELF_SIGNED_CERT',
        }),
      ),
      kind: 'operator',
      code: 'KAFKA_TLS',
    },
    {
      name: 'a login where none is taken',
      error: createErrorFromCode(34),
      kind: 'operator',
      code: 'KAFKA_AUTHENTICATION',
      names: /Leave out kafka\.sasl/,
    },
    {
      name: 'a full disk of a broker',
      error: retried(createErrorFromCode(56)),
      kind: 'transient',
      code: 'KAFKA_STORAGE',
      names: /disks of the brokers/,
    },
    {
      name: 'closed without a word, as by a broker that wants a login',
      error: made('KafkaJSConnectionClosedError', 'Closed connection', { host: 'h', port: 1 }),
      kind: 'transient',
      code: 'KAFKA_UNAVAILABLE',
      names: /kafka\.sasl.*kafka\.tls/,
    },
    {
      name: 'connection refused',
      error: retried(
        made('KafkaJSConnectionError', 'Connection error: connect ECONNREFUSED', { code: 'ECONNREFUSED' }),
      ),
      kind: 'transient',
      code: 'KAFKA_UNAVAILABLE',
    },
    {
      name: 'cut off between two requests, which kafkajs tells with an error of no kind',
      error: new Error('Broker not connected'),
      kind: 'transient',
      code: 'KAFKA_UNAVAILABLE',
    },
    {
      name: 'request timeout',
      error: made('KafkaJSRequestTimeoutError', 'Request Produce timed out'),
      kind: 'transient',
      code: 'KAFKA_UNAVAILABLE',
    },
    {
      name: 'leader moved',
      error: retried(createErrorFromCode(6)),
      kind: 'transient',
      code: 'KAFKA_UNAVAILABLE',
    },
    {
      name: 'coordinator moved',
      error: createErrorFromCode(16),
      kind: 'transient',
      code: 'KAFKA_UNAVAILABLE',
    },
    {
      name: 'out of order sequence',
      error: createErrorFromCode(45),
      kind: 'transient',
      code: 'KAFKA_UNAVAILABLE',
    },
    {
      name: 'too few replicas',
      error: createErrorFromCode(19),
      kind: 'transient',
      code: 'KAFKA_UNAVAILABLE',
    },
    {
      name: 'no coordinator found',
      error: made('KafkaJSGroupCoordinatorNotFound', 'Failed to find group coordinator'),
      kind: 'transient',
      code: 'KAFKA_UNAVAILABLE',
    },
    {
      name: 'socket',
      error: Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }),
      kind: 'transient',
      code: 'KAFKA_UNAVAILABLE',
    },
    {
      name: 'our own mistake',
      error: new TypeError('x is not a function'),
      kind: 'bug',
      code: 'KAFKA_UNEXPECTED',
    },
    {
      name: 'one of ours',
      error: new PoisonError({ code: 'VALUE', message: 'no' }),
      kind: 'poison',
      code: 'VALUE',
    },
  ];
  for (const { name, error, kind, code, names } of cases)
    test(name, () => {
      const translated = translateKafka(error, { doing: 'publishing', topic: 'changes', group: 'g' });
      assert.deepEqual([translated.kind, translated.code], [kind, code]);
      if (names !== undefined) assert.match(`${translated.message} ${translated.remedy}`, names);
      if (kind !== 'poison') assert.match(translated.message, /publishing/);
    });
});
