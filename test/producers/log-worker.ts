/** A log poller as a process of its own, for tests that kill it or weigh it. Its one argument is a WorkerTask. */
import { createChangeEncoder } from '../../src/change/avro.ts';
import type { TableMapping } from '../../src/change/table.ts';
import { createChangeLog } from '../../src/connections/kafka/change-log.ts';
import { openKafka } from '../../src/connections/kafka/client.ts';
import { createLeadership } from '../../src/connections/postgres/leadership.ts';
import { createPostgresLog } from '../../src/connections/postgres/log-source.ts';
import { runPostgresLog } from '../../src/producers/postgres-log.ts';
import type { PostgresLogFeedOptions } from '../../src/producers/postgres-log-deps.ts';

export interface WorkerTask {
  readonly url: string;
  readonly table: string;
  readonly mapping: TableMapping;
  readonly brokers: readonly string[];
  readonly producerName: string;
  readonly topic: string;
  readonly partitions: number;
  readonly deadLetterTopic: string;
  readonly positionsTopic: string;
  readonly options: Partial<PostgresLogFeedOptions>;
}

/** What it says, a JSON line each. */
export type WorkerWord =
  | { readonly state: string; readonly error?: string }
  | { readonly published: number; readonly rejected: number };

const task = JSON.parse(process.argv[2]!) as WorkerTask;
const say = (word: WorkerWord): void => void process.stdout.write(`${JSON.stringify(word)}\n`);
const ended = new AbortController();
process.once('SIGTERM', () => ended.abort());

const encoder = createChangeEncoder(task.mapping, 1);
const source = createPostgresLog({
  url: task.url,
  table: task.table,
  mapping: task.mapping,
  origin: 'postgres',
  // Pages are never split over transactions.
  pageChanges: Math.min(5_000, task.options.maxBatchChanges ?? 5_000),
});
await runPostgresLog(
  {
    table: task.mapping.name,
    source,
    log: createChangeLog({
      ...task,
      kafka: openKafka({ brokers: task.brokers, clientId: task.producerName }),
      table: task.mapping.name,
      encode: (change) => encoder.encode(change, Date.now() * 1000),
    }),
    leadership: createLeadership({ url: task.url }),
    options: task.options,
    onState: (state) =>
      say({ state: state.name, ...('error' in state ? { error: String(state.error) } : {}) }),
    onPublished: ({ changes, rejected }) => say({ published: changes, rejected }),
  },
  ended.signal,
);
await source.close();
