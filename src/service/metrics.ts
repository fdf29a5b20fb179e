import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';

/** What an SRE watches, in one registry per process. docs/METRICS.md explains each. */
export interface Metrics {
  readonly registry: Registry;
  readonly published: Counter<'table' | 'producer'>;
  readonly rejected: Counter<'table' | 'producer'>;
  readonly sourcePosition: Gauge<'table' | 'producer'>;
  readonly sourceLatest: Gauge<'table' | 'producer'>;
  readonly applied: Counter<'table' | 'sink'>;
  readonly lateKeys: Counter<'table' | 'sink'>;
  readonly deadLetters: Counter<'table' | 'sink' | 'code'>;
  readonly lag: Gauge<'table' | 'sink' | 'partition'>;
  readonly latency: Histogram<'table' | 'sink'>;
  readonly applySeconds: Histogram<'table' | 'sink'>;
  readonly mergeConflicts: Counter<'table'>;
  readonly merges: Counter<'table' | 'sent'>;
  readonly oldestTransaction: Gauge<'table'>;
  readonly logPartitions: Gauge<'table'>;
  readonly logBytes: Gauge<'table'>;
  readonly partsByState: Gauge<'part' | 'state'>;
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  return {
    registry,
    published: new Counter({
      name: 'deltaferry_changes_published_total',
      help: 'Changes written to the changes topic and committed.',
      labelNames: ['table', 'producer'],
      registers,
    }),
    rejected: new Counter({
      name: 'deltaferry_changes_rejected_total',
      help: 'Source rows that can never become a change, written to the dead-letter topic by a producer.',
      labelNames: ['table', 'producer'],
      registers,
    }),
    sourcePosition: new Gauge({
      name: 'deltaferry_source_position',
      help: 'Newest Delta commit version published.',
      labelNames: ['table', 'producer'],
      registers,
    }),
    sourceLatest: new Gauge({
      name: 'deltaferry_source_latest',
      help: 'Newest Delta commit version seen.',
      labelNames: ['table', 'producer'],
      registers,
    }),
    applied: new Counter({
      name: 'deltaferry_changes_applied_total',
      help: 'Changes committed at the sink.',
      labelNames: ['table', 'sink'],
      registers,
    }),
    lateKeys: new Counter({
      name: 'deltaferry_late_keys_total',
      help: 'Keys that took the exact path because a change came late.',
      labelNames: ['table', 'sink'],
      registers,
    }),
    deadLetters: new Counter({
      name: 'deltaferry_dead_letters_total',
      help: 'Records taken out of the stream and written to the dead-letter topic.',
      labelNames: ['table', 'sink', 'code'],
      registers,
    }),
    lag: new Gauge({
      name: 'deltaferry_partition_lag_records',
      help: 'Offsets between what the sink has applied and the end of the partition.',
      labelNames: ['table', 'sink', 'partition'],
      registers,
    }),
    latency: new Histogram({
      name: 'deltaferry_event_to_visible_seconds',
      help: 'From the event time of a change at its source to its commit at the sink.',
      labelNames: ['table', 'sink'],
      buckets: [0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 2, 5, 10, 30, 60, 300, 3600],
      registers,
    }),
    applySeconds: new Histogram({
      name: 'deltaferry_apply_seconds',
      help: 'Duration of one applying transaction or merge.',
      labelNames: ['table', 'sink'],
      buckets: [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30],
      registers,
    }),
    mergeConflicts: new Counter({
      name: 'deltaferry_merge_conflicts_total',
      help: 'Merges begun again because another writer had committed to the Delta table.',
      labelNames: ['table'],
      registers,
    }),
    merges: new Counter({
      name: 'deltaferry_merges_total',
      help: 'Merges into the Delta table, by how their rows were sent (inline, staged, nothing).',
      labelNames: ['table', 'sent'],
      registers,
    }),
    oldestTransaction: new Gauge({
      name: 'deltaferry_oldest_transaction_seconds',
      help: 'Age of the oldest transaction open in the captured database: its changes cannot be read yet, and the log behind it is kept.',
      labelNames: ['table'],
      registers,
    }),
    logPartitions: new Gauge({
      name: 'deltaferry_log_partitions',
      help: 'Partitions of the log of changes in Postgres.',
      labelNames: ['table'],
      registers,
    }),
    logBytes: new Gauge({
      name: 'deltaferry_log_bytes',
      help: 'Size of the log of changes in Postgres.',
      labelNames: ['table'],
      registers,
    }),
    partsByState: new Gauge({
      name: 'deltaferry_part_state',
      help: 'One per part and state: 1 where the part is in that state.',
      labelNames: ['part', 'state'],
      registers,
    }),
  };
}
