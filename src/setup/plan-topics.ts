import type { Step } from './plan.ts';
import type { NewTopic, TopicFacts } from './ports.ts';
import {
  DEFAULT_DEAD_LETTER_RETENTION_MS,
  DEFAULT_PARTITIONS,
  DEFAULT_RETENTION_MS,
  deadLetterTopic,
  POSITIONS_TOPIC,
  type SetupRequest,
} from './request.ts';

interface WantedTopic extends NewTopic {
  /** Whether another number of partitions would be wrong: the partition decides where a key's changes are. */
  readonly partitionsMatter: boolean;
}

export function planTopics(wanted: SetupRequest, existing: ReadonlyMap<string, TopicFacts>): readonly Step[] {
  return wantedTopics(wanted).flatMap((topic) => planTopic(topic, existing.get(topic.topic)));
}

/** Names of all topics that setup looks at. */
export function topicNames(wanted: SetupRequest): readonly string[] {
  return wantedTopics(wanted).map(({ topic }) => topic);
}

function wantedTopics(wanted: SetupRequest): readonly WantedTopic[] {
  const retention = wanted.retentionMs ?? DEFAULT_RETENTION_MS;
  const deadLetterRetention = wanted.deadLetterRetentionMs ?? DEFAULT_DEAD_LETTER_RETENTION_MS;
  return [
    positionsTopic(wanted.positionsTopic ?? POSITIONS_TOPIC),
    ...wanted.tables.flatMap(({ topic, partitions = DEFAULT_PARTITIONS }) => [
      { topic, partitions, partitionsMatter: true, config: deleteAfter(retention) },
      {
        topic: deadLetterTopic(topic),
        partitions: 1,
        partitionsMatter: false,
        config: deleteAfter(deadLetterRetention),
      },
    ]),
  ];
}

function deleteAfter(retentionMs: number): Readonly<Record<string, string>> {
  return { 'cleanup.policy': 'delete', 'retention.ms': String(retentionMs) };
}

/**
 * A producer reads it whole when it starts, and every transaction adds a record: it stays short
 * because it rolls and compacts early (1 MiB is the smallest segment that Kafka 4 takes).
 */
function positionsTopic(topic: string): WantedTopic {
  return {
    topic,
    partitions: 1,
    partitionsMatter: true,
    config: {
      'cleanup.policy': 'compact',
      'segment.bytes': String(1024 * 1024),
      'segment.ms': String(10 * 60 * 1000),
      'max.compaction.lag.ms': String(10 * 60 * 1000),
      'min.cleanable.dirty.ratio': '0.1',
      'delete.retention.ms': String(60 * 60 * 1000),
    },
  };
}

function planTopic(wanted: WantedTopic, existing: TopicFacts | undefined): readonly Step[] {
  const what = `topic ${wanted.topic}`;
  const { topic, partitions, config } = wanted;
  const policy = config['cleanup.policy'] ?? '';
  if (existing === undefined) {
    const detail = `create with ${count(partitions)}, ${describe(config)}`;
    return [
      { kind: 'create', what, detail, action: { do: 'create topic', topic: { topic, partitions, config } } },
    ];
  }
  const steps: Step[] = [];
  if (wanted.partitionsMatter && existing.partitions !== partitions)
    steps.push({
      kind: 'mismatch',
      what,
      detail:
        `has ${count(existing.partitions)}, ${count(partitions)} wanted. ` +
        (wanted.topic.endsWith('positions')
          ? 'Use another name for it, or delete it while no producer has written to it yet.'
          : `Set \`partitions: ${existing.partitions}\` for this table in the configuration: adding partitions ` +
            'would move keys, and a key would then be applied out of order.'),
    });
  const found = existing.config['cleanup.policy'] ?? 'unknown';
  if (found !== policy)
    steps.push({
      kind: 'mismatch',
      what,
      detail: `cleanup.policy is ${found}, it must be ${policy}: ${
        policy === 'delete'
          ? 'compaction drops the versions between the first and the last of a key'
          : 'positions that expire make their producer start again'
      }. Run kafka-configs --alter --topic ${wanted.topic} --add-config cleanup.policy=${policy}`,
    });
  const shorter = shorterRetention(config['retention.ms'], existing.config['retention.ms']);
  if (shorter !== null)
    steps.push({
      kind: 'warning',
      what,
      detail: `keeps records for ${shorter}; a sink that stands still longer has lost changes`,
    });
  if (steps.every(({ kind }) => kind === 'warning'))
    steps.unshift({ kind: 'ok', what, detail: `${count(existing.partitions)}, ${policy}` });
  return steps;
}

function shorterRetention(wanted: string | undefined, found: string | undefined): string | null {
  if (wanted === undefined || found === undefined || found === '-1') return null;
  return Number(found) < Number(wanted) ? `${days(found)}, ${days(wanted)} wanted` : null;
}

function describe(config: Readonly<Record<string, string>>): string {
  const retention = config['retention.ms'];
  const policy = config['cleanup.policy'] === 'compact' ? 'compacted' : 'deleted';
  if (retention === undefined) return policy;
  return retention === '-1' ? 'kept forever' : `${policy} after ${days(retention)}`;
}

function days(ms: string): string {
  const hours = Number(ms) / (60 * 60 * 1000);
  return hours % 24 === 0 ? `${hours / 24} days` : `${Math.round(hours * 100) / 100} hours`;
}

function count(partitions: number): string {
  return partitions === 1 ? '1 partition' : `${partitions} partitions`;
}
