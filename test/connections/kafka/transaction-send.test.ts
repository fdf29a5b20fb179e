import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { describe, it } from 'node:test';
import {
  createTransactionSend,
  type Brokers,
  type TopicPart,
  type TransactionState,
} from '../../../src/connections/kafka/transaction-send.ts';

type Refusal = Readonly<Record<string, unknown>>;
const NOT_LEADER: Refusal = {
  name: 'KafkaJSProtocolError',
  type: 'NOT_LEADER_FOR_PARTITION',
  retriable: true,
};
const CONCURRENT: Refusal = {
  name: 'KafkaJSProtocolError',
  type: 'CONCURRENT_TRANSACTIONS',
  retriable: true,
};
const refused = (refusal: Refusal): Error => Object.assign(new Error('refused'), refusal);

interface Sent {
  readonly producerEpoch: number;
  readonly topicData: readonly TopicPart[];
}

/** Brokers that append as real ones do: in sequence, and what they have already not again. */
class FakeCluster {
  readonly leaders: number[];
  readonly log: string[][];
  /** Who is asked, in the order of the requests. */
  readonly asked: number[] = [];
  onProduce: (broker: number, request: number) => Promise<'lost' | void> = async () => {};
  onAdd: (call: number) => void = () => {};
  onRefresh: () => void = () => {};
  #next: number[];
  #added = new Set<number>();
  #adds = 0;

  constructor(...leaders: number[]) {
    this.leaders = leaders;
    this.log = leaders.map(() => []);
    this.#next = leaders.map(() => 0);
  }

  get brokers(): Brokers {
    const refreshMetadata = async (): Promise<void> => this.onRefresh();
    return {
      addMultipleTargetTopics: async () => {},
      connect: async () => {},
      isConnected: () => true,
      refreshMetadata,
      refreshMetadataIfNecessary: async () => {},
      removeBroker: () => {},
      findTopicPartitionMetadata: () =>
        this.leaders.map((leader, partitionId) => ({ partitionId, leader })) as never,
      findBroker: async ({ nodeId }) => ({
        produce: async (request) => await this.#produce(nodeId, request as Sent),
      }),
    };
  }

  async #produce(broker: number, { topicData }: Sent): Promise<void> {
    const parts = topicData.flatMap(({ partitions }) => partitions);
    const request = this.asked.push(broker);
    const outcome = await this.onProduce(broker, request);
    for (const { partition } of parts) {
      assert.ok(this.#added.has(partition), 'its coordinator knows of the partition');
      if (this.leaders[partition] !== broker) throw refused(NOT_LEADER);
    }
    for (const { partition, messages, firstSequence = -1 } of parts) {
      if (firstSequence + messages.length <= this.#next[partition]!) continue;
      assert.equal(firstSequence, this.#next[partition], 'in sequence');
      this.log[partition]!.push(...messages.map(({ value }) => String(value)));
      this.#next[partition] = firstSequence + messages.length;
    }
    if (outcome === 'lost') throw refused({ name: 'KafkaJSRequestTimeoutError', retriable: true });
  }

  get state(): TransactionState {
    const next = new Map<number, number>();
    return {
      getProducerId: () => 1,
      getProducerEpoch: () => 0,
      getTransactionalId: () => 'id',
      getSequence: (_, partition) => next.get(partition) ?? 0,
      updateSequence: (_, partition, by) => void next.set(partition, (next.get(partition) ?? 0) + by),
      addPartitionsToTransaction: async (topics) => {
        this.onAdd(++this.#adds);
        for (const { partitions } of topics)
          for (const { partition } of partitions) this.#added.add(partition);
      },
    };
  }

  /** Sends one value to each partition, twice over. */
  async sendAll(): Promise<void> {
    const send = createTransactionSend({
      brokers: this.brokers,
      state: this.state,
      retry: { initialRetryTime: 1, maxRetryTime: 2, retries: 5 },
    });
    for (const round of ['a', 'b']) {
      const messages = this.leaders.map((_, partition) => ({ partition, value: `${round}${partition}` }));
      await send({ topicMessages: [{ topic: 't', messages }] });
    }
  }
}

const ONCE = [
  ['a0', 'b0'],
  ['a1', 'b1'],
];

describe('a transaction whose partitions are led by several brokers', () => {
  it('has every message once', async () => {
    const cluster = new FakeCluster(1, 2);
    await cluster.sendAll();
    assert.deepEqual(cluster.log, ONCE);
    assert.deepEqual(cluster.asked, [1, 2, 1, 2]);
  });

  it('loses none of a partition that moves to a broker which has acknowledged others', async () => {
    const cluster = new FakeCluster(1, 2);
    cluster.onProduce = async (broker) => {
      if (broker === 2) cluster.leaders[1] = 1;
    };
    await cluster.sendAll();
    assert.deepEqual(cluster.log, ONCE);
  });

  it('repeats nothing that another broker still has in hand', async () => {
    const cluster = new FakeCluster(1, 2);
    const moved = Promise.withResolvers<void>();
    cluster.onProduce = async (_, request) => {
      // The first broker answers only once the second has refused, and a while after.
      if (request === 1) {
        await moved.promise;
        for (let turn = 0; turn < 50; turn++) await setImmediate();
      }
      if (request === 2) {
        cluster.leaders[1] = 3;
        moved.resolve();
      }
    };
    await cluster.sendAll();
    assert.deepEqual(cluster.log, ONCE);
    assert.deepEqual(cluster.asked, [1, 2, 3, 1, 3]);
  });

  it('waits for the end of the transaction before it', async () => {
    const cluster = new FakeCluster(1, 2);
    cluster.onAdd = (call) => {
      if (call <= 3) throw refused(CONCURRENT);
    };
    await cluster.sendAll();
    assert.deepEqual(cluster.log, ONCE);
  });

  it('has what was written although the answer was lost once', async () => {
    const cluster = new FakeCluster(1, 2);
    cluster.onProduce = async (_, request) => (request <= 2 ? 'lost' : undefined);
    await cluster.sendAll();
    assert.deepEqual(cluster.log, ONCE);
  });

  it('waits until somebody says who leads a partition', async () => {
    const cluster = new FakeCluster(1, 2);
    const second = cluster.leaders.pop()!;
    cluster.onRefresh = () => {
      if (cluster.leaders.length === 1) cluster.leaders.push(second);
    };
    const send = createTransactionSend({
      brokers: cluster.brokers,
      state: cluster.state,
      retry: { initialRetryTime: 1, maxRetryTime: 2, retries: 5 },
    });
    const messages = [0, 1].map((partition) => ({ partition, value: `a${partition}` }));
    await send({ topicMessages: [{ topic: 't', messages }] });
    assert.deepEqual(cluster.log, [['a0'], ['a1']]);
  });

  it('fails at once where trying again is of no use', async () => {
    const cluster = new FakeCluster(1, 2);
    cluster.onProduce = async (broker) => {
      if (broker === 2)
        throw refused({ name: 'KafkaJSProtocolError', type: 'MESSAGE_TOO_LARGE', retriable: false });
    };
    await assert.rejects(cluster.sendAll(), /refused/);
    assert.deepEqual(cluster.asked, [1, 2]);
  });
});
