import { readFileSync } from 'node:fs';
import { DBSQLClient } from '@databricks/sql';
import { Kafka, logLevel } from 'kafkajs';
import pg from 'pg';
import type { Endpoints } from '../../src/stack/stack.ts';

/** One thing written to each part, and how to read it back: what a user would miss after a restart. */
export interface Keepsake {
  write(endpoints: Endpoints): Promise<void>;
  read(endpoints: Endpoints): Promise<string>;
}

export const keepsakes = {
  kafka: {
    async write(endpoints) {
      await withKafka(endpoints, async (kafka) => {
        const admin = kafka.admin();
        await admin.connect();
        await admin.createTopics({ topics: [{ topic: 'keepsake', numPartitions: 1 }] });
        await admin.disconnect();
        const producer = kafka.producer();
        await producer.connect();
        await producer.send({ topic: 'keepsake', messages: [{ value: 'kept' }] });
        await producer.disconnect();
      });
    },
    async read(endpoints) {
      return withKafka(endpoints, async (kafka) => {
        const consumer = kafka.consumer({ groupId: `reader-${Date.now()}`, maxWaitTimeInMs: 100 });
        await consumer.connect();
        await consumer.subscribe({ topic: 'keepsake', fromBeginning: true });
        try {
          return await new Promise<string>((resolve, reject) => {
            consumer
              .run({
                eachMessage: ({ message }) => {
                  resolve(String(message.value));
                  return Promise.resolve();
                },
              })
              .catch(reject);
          });
        } finally {
          await consumer.disconnect();
        }
      });
    },
  },

  registry: {
    async write({ registry }) {
      const response = await fetch(`${registry.url}/subjects/keepsake/versions`, {
        method: 'POST',
        headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
        body: JSON.stringify({ schema: '"string"' }),
      });
      if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    },
    async read({ registry }) {
      const response = await fetch(`${registry.url}/subjects/keepsake/versions/latest`);
      const { schema } = (await response.json()) as { schema?: string };
      return schema === '"string"' ? 'kept' : String(schema);
    },
  },

  postgres: {
    async write(endpoints) {
      await query(endpoints, "CREATE TABLE keepsake AS SELECT 'kept' AS word");
    },
    async read(endpoints) {
      const rows = await query(endpoints, 'SELECT word FROM keepsake');
      return String(rows[0]?.['word']);
    },
  },

  warehouse: {
    async write(endpoints) {
      await statement(endpoints, 'CREATE SCHEMA IF NOT EXISTS shelf');
      await statement(endpoints, 'CREATE TABLE shelf.keepsake (word STRING) USING delta');
      await statement(endpoints, "INSERT INTO shelf.keepsake VALUES ('kept')");
    },
    async read(endpoints) {
      const rows = (await statement(endpoints, 'SELECT word FROM shelf.keepsake')) as { word: string }[];
      return String(rows[0]?.word);
    },
  },
} as const satisfies Record<string, Keepsake>;

export async function query({ postgres }: Endpoints, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: postgres.url });
  // A server that is killed also says so here.
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

async function statement({ databricks }: Endpoints, sql: string): Promise<object[]> {
  const { host, port, path, token, caFile } = databricks;
  const client = new DBSQLClient({ logger: { log: () => undefined } });
  client.on('error', () => undefined);
  await client.connect({
    host,
    port,
    path,
    token,
    customCaCert: readFileSync(caFile),
    telemetryEnabled: false,
  });
  try {
    const session = await client.openSession();
    const operation = await session.executeStatement(sql);
    return await operation.fetchAll();
  } finally {
    await client.close();
  }
}

async function withKafka<T>({ kafka }: Endpoints, work: (client: Kafka) => Promise<T>): Promise<T> {
  const retry = { initialRetryTime: 50, retries: 20 };
  return work(new Kafka({ clientId: 'test', brokers: kafka.brokers, logLevel: logLevel.NOTHING, retry }));
}
