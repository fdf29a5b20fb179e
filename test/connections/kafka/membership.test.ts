import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { describe, it } from 'node:test';
import type { Cluster, Consumer, Kafka, RetryOptions } from 'kafkajs';
import { silent } from '../../../src/connections/kafka/client.ts';
import { joinGroup } from '../../../src/connections/kafka/membership.ts';

const TOPIC = 'changes';

/** kafkajs as it behaves around a crash: what it does on its way into the group cannot be stopped. */
function fakeKafka() {
  const emitter = new EventEmitter();
  const calls: string[] = [];
  let retry: RetryOptions | undefined;
  const names = { REBALANCING: 'rebalancing', GROUP_JOIN: 'join', CRASH: 'crash' };
  const consumer = {
    events: names,
    on: (name: string, listener: (event: unknown) => void) => emitter.on(name, listener),
    connect: () => Promise.resolve(),
    subscribe: () => Promise.resolve(),
    run: () => Promise.resolve(),
    pause: () => calls.push('pause'),
    disconnect: () => Promise.resolve(calls.push('disconnect')),
  };
  const kafka = {
    consumer(config: { retry: RetryOptions; partitionAssigners: ((environment: object) => unknown)[] }) {
      retry = config.retry;
      config.partitionAssigners[0]!({ cluster: {} as Cluster });
      return consumer as unknown as Consumer;
    },
  } as unknown as Kafka;
  return {
    kafka,
    calls,
    joins: (...partitions: number[]) =>
      emitter.emit('join', { payload: { memberAssignment: { [TOPIC]: partitions } } }),
    async crashes(error: Error): Promise<boolean> {
      const restart = (await retry?.restartOnFailure?.(error)) ?? false;
      emitter.emit('crash', { payload: { error, restart } });
      return restart;
    },
  };
}

const cutOff = new Error('Broker not connected');
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function member() {
  const fake = fakeKafka();
  const assigned: (readonly number[])[] = [];
  const lost: string[] = [];
  const membership = await joinGroup({
    kafka: fake.kafka,
    groupId: 'g',
    topic: TOPIC,
    sessionTimeoutMs: 1500,
    logger: silent,
    onAssignment: (partitions) => assigned.push(partitions),
    onLost: (error) => lost.push(error.code),
  });
  return { ...fake, membership, assigned, lost };
}

describe('membership', () => {
  it('asked to leave while kafkajs is on its way back into the group, it leaves when kafkajs has arrived', async () => {
    const { membership, crashes, joins, calls, assigned } = await member();
    joins(1, 0);
    assert.deepEqual(assigned, [[0, 1]]);
    assert.equal(await crashes(cutOff), true);
    const left = membership.leave();
    await turn();
    await turn();
    assert.deepEqual(calls, ['pause'], 'kafkajs would not stop now');
    joins(0, 1);
    await left;
    assert.deepEqual(calls, ['pause', 'disconnect']);
    assert.deepEqual(assigned, [[0, 1]], 'nobody reads what came after leaving');
  });

  it('asked to leave on the way, and kafkajs fails again: it does not begin anew', async () => {
    const { membership, crashes, calls, lost } = await member();
    await crashes(cutOff);
    const left = membership.leave();
    assert.equal(await crashes(cutOff), false);
    await left;
    assert.deepEqual(calls, ['disconnect']);
    assert.deepEqual(lost, [], 'who leaves has not lost it');
  });

  it('what only a person can mend ends it', async () => {
    const { crashes, lost, membership } = await member();
    const denied = Object.assign(new Error('denied'), {
      name: 'KafkaJSProtocolError',
      type: 'GROUP_AUTHORIZATION_FAILED',
    });
    assert.equal(await crashes(denied), false);
    assert.deepEqual(lost, ['KAFKA_DENIED']);
    await membership.leave();
  });
});
