import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import type { Cluster, Kafka, Logger } from 'kafkajs';
import { disconnected, consumerWithCluster } from './cluster.ts';
import {
  createTransactionSend,
  type Brokers,
  type TransactionBatch,
  type TransactionState,
} from './transaction-send.ts';

export interface TransactionalProducerOptions {
  readonly kafka: Kafka;
  readonly transactionalId: string;
  /** After how long the broker aborts what a dead process left open, milliseconds. */
  readonly transactionTimeoutMs: number;
  /** How what is refused is sent again. */
  readonly retry: {
    readonly initialRetryTime: number;
    readonly maxRetryTime: number;
    readonly retries: number;
  };
}

/** One transaction after the other. Throws kafkajs's errors. */
export interface TransactionalProducer {
  /** Connects; fences every older producer of the id and settles what it has left open. */
  open(): Promise<void>;
  begin(): void;
  /** Every message names its partition; one call after the other. */
  send(batch: TransactionBatch): Promise<void>;
  commit(): Promise<void>;
  abort(): Promise<void>;
  /** Whether a transaction has begun and not ended. */
  isActive(): boolean;
  close(): Promise<void>;
}

/** kafkajs's own states of a transaction, which its producer hides. */
interface Transactions extends TransactionState {
  initProducerId(): Promise<void>;
  beginTransaction(): void;
  commit(): Promise<void>;
  abort(): Promise<void>;
  isInTransaction(): boolean;
}

const load = createRequire(import.meta.url);
const createTransactions = load('kafkajs/src/producer/eosManager/index.js') as (options: {
  readonly logger: Logger;
  readonly cluster: Cluster;
  readonly transactional: true;
  readonly transactionalId: string;
  readonly transactionTimeout: number;
}) => Transactions;

/** kafkajs's transactions with a sending of our own: transaction-send.ts says why. */
export function createTransactionalProducer(options: TransactionalProducerOptions): TransactionalProducer {
  const { kafka, transactionalId, transactionTimeoutMs, retry } = options;
  const { consumer, cluster } = consumerWithCluster(kafka, {
    groupId: `deltaferry-no-group-${randomUUID()}`,
  });
  const transactions = createTransactions({
    logger: kafka.logger(),
    cluster,
    transactional: true,
    transactionalId,
    transactionTimeout: transactionTimeoutMs,
  });
  const send = createTransactionSend({ brokers: cluster as unknown as Brokers, state: transactions, retry });
  return {
    async open() {
      await cluster.connect();
      await transactions.initProducerId();
    },
    begin: () => transactions.beginTransaction(),
    send,
    commit: () => transactions.commit(),
    abort: () => transactions.abort(),
    isActive: () => transactions.isInTransaction(),
    close: () => disconnected(consumer.disconnect()),
  };
}
