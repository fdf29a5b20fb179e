import { alterTopicCommand } from '../connections/kafka/alter-topic.ts';
import type { Step } from './plan.ts';
import type { NewTopic, TopicFacts } from './ports.ts';
import {
  DEFAULT_DEAD_LETTER_RETENTION_MS,
  DEFAULT_MAX_MESSAGE_BYTES,
  DEFAULT_PARTITIONS,
  DEFAULT_RETENTION_MS,
  deadLetterBytes,
  deadLetterTopic,
  POSITIONS_TOPIC,
  type SetupRequest,
} from './request.ts';

interface WantedTopic extends NewTopic {
  /** Whether another number of partitions would be wrong, and why. */
  readonly partitionsMatter: 'for keys' | 'for loads' | 'for positions' | 'not';
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
  const bytes = wanted.maxMessageBytes ?? DEFAULT_MAX_MESSAGE_BYTES;
  return [
    positionsTopic(wanted.positionsTopic ?? POSITIONS_TOPIC),
    ...wanted.tables.flatMap(
      ({ topic, loadTopic, partitions = DEFAULT_PARTITIONS }): readonly WantedTopic[] => [
        {
          topic,
          partitions,
          partitionsMatter: 'for keys',
          config: { ...deleteAfter(retention), ...upTo(bytes) },
        },
        {
          topic: deadLetterTopic(topic),
          partitions: 1,
          partitionsMatter: 'not',
          config: { ...deleteAfter(deadLetterRetention), ...upTo(deadLetterBytes(bytes)) },
        },
        ...(loadTopic === undefined ? [] : [loadsTopic(loadTopic, partitions, bytes)]),
      ],
    ),
  ];
}

/** A load that begins before setup has made it makes it itself, the same. */
function loadsTopic(topic: string, partitions: number, bytes: number): WantedTopic {
  return {
    topic,
    partitions,
    partitionsMatter: 'for loads',
    config: { 'cleanup.policy': 'compact', ...upTo(bytes) },
  };
}

function upTo(bytes: number): Readonly<Record<string, string>> {
  return { 'max.message.bytes': String(bytes) };
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
    partitionsMatter: 'for positions',
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
  const { topic, partitions, config } = wanted;
  const what = `topic ${topic}`;
  if (existing === undefined) {
    const detail = `${count(partitions)}, ${describe(config)}`;
    const action = { do: 'create topic', topic: { topic, partitions, config } } as const;
    return [{ kind: 'create', what, detail, action }];
  }
  const mismatches = [...checkPartitions(wanted, existing), ...checkPolicy(wanted, existing)];
  if (mismatches.length > 0) return mismatches.map((detail) => ({ kind: 'mismatch', what, detail }));
  const detail = `${count(existing.partitions)}, ${config['cleanup.policy']}`;
  const warnings = [...checkRetention(wanted, existing), ...checkRecordSize(wanted, existing)];
  return [
    { kind: 'ok', what, detail },
    ...warnings.map((detail): Step => ({ kind: 'warning', what, detail })),
  ];
}

function checkPartitions(wanted: WantedTopic, { partitions }: TopicFacts): readonly string[] {
  if (wanted.partitionsMatter === 'not' || partitions === wanted.partitions) return [];
  const found = `has ${count(partitions)}, ${count(wanted.partitions)} wanted`;
  switch (wanted.partitionsMatter) {
    case 'for positions':
      return [`${found}. Use another name for it, or delete it while no producer has written to it yet`];
    case 'for keys':
      return [
        `${found}. Set \`partitions: ${partitions}\` for this table in the configuration: adding partitions ` +
          'would move keys, and a key would then be applied out of order',
      ];
    case 'for loads':
      return [
        `${found}, as the changes topic has. Delete it while no load is under way: setup makes it anew, and the next ` +
          'load publishes everything again',
      ];
    default:
      return wanted.partitionsMatter satisfies never;
  }
}

function checkPolicy(
  { topic, config, partitionsMatter }: WantedTopic,
  existing: TopicFacts,
): readonly string[] {
  const wanted = config['cleanup.policy'];
  const found = existing.config['cleanup.policy'] ?? 'unknown';
  if (wanted === undefined || found === wanted) return [];
  const why =
    wanted === 'delete'
      ? 'compaction drops the versions between the first and the last of a key'
      : partitionsMatter === 'for positions'
        ? 'positions that expire make their producer start again'
        : 'rows of a load that expire are missing wherever it is loaded';
  const command = alterTopicCommand(topic, 'cleanup.policy', wanted);
  return [`cleanup.policy is ${found}, it must be ${wanted}: ${why}. Run ${command}`];
}

/** Shorter is allowed, but is to be known. */
function checkRetention({ config }: WantedTopic, existing: TopicFacts): readonly string[] {
  const wanted = config['retention.ms'];
  if (wanted === undefined) return [];
  const warnings: string[] = [];
  const found = existing.config['retention.ms'] ?? FOREVER;
  if (found !== FOREVER && (wanted === FOREVER || Number(found) < Number(wanted)))
    warnings.push(`keeps records for ${duration(found)}, ${duration(wanted)} wanted: ${TOO_SHORT}`);
  const bytes = existing.config['retention.bytes'] ?? FOREVER;
  if (bytes !== FOREVER)
    warnings.push(
      `keeps at most ${bytes} bytes of each partition (retention.bytes), however new: ${TOO_SHORT}`,
    );
  return warnings;
}

/** Smaller is allowed, but a row that is too large then stops its table. */
function checkRecordSize(
  { topic, config }: Pick<NewTopic, 'topic' | 'config'>,
  existing: TopicFacts,
): readonly string[] {
  const wanted = config['max.message.bytes'];
  const found = existing.config['max.message.bytes'];
  if (wanted === undefined || found === undefined || Number(found) >= Number(wanted)) return [];
  return [
    `takes records of up to ${found} bytes (max.message.bytes), ${wanted} wanted: a larger change would stop ` +
      `the table. Run ${alterTopicCommand(topic, 'max.message.bytes', wanted)}`,
  ];
}

const FOREVER = '-1';
const TOO_SHORT = 'a sink that stands still longer has lost changes';

function describe(config: Readonly<Record<string, string>>): string {
  const retention = config['retention.ms'];
  if (config['cleanup.policy'] === 'compact') return 'compacted';
  return retention === undefined || retention === FOREVER
    ? 'kept forever'
    : `deleted after ${duration(retention)}`;
}

function duration(ms: string): string {
  if (ms === FOREVER) return 'ever';
  const hours = Number(ms) / (60 * 60 * 1000);
  const [amount, unit] = hours % 24 === 0 ? [hours / 24, 'day'] : [Math.round(hours * 100) / 100, 'hour'];
  return `${amount} ${unit}${amount === 1 ? '' : 's'}`;
}

function count(partitions: number): string {
  return partitions === 1 ? '1 partition' : `${partitions} partitions`;
}
