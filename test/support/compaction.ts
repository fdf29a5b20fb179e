import kafkajs, { type Kafka } from 'kafkajs';

/** Has the broker compact the topic as soon as it can; the newest segment of a partition is never touched. */
export async function compactAtOnce(kafka: Kafka, topic: string, segmentMs: number): Promise<void> {
  const admin = kafka.admin();
  await admin.connect();
  const settings = {
    'cleanup.policy': 'compact',
    'segment.ms': String(segmentMs),
    'min.cleanable.dirty.ratio': '0',
    'max.compaction.lag.ms': '1',
    'delete.retention.ms': '0',
  };
  const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }));
  try {
    await admin.alterConfigs({
      validateOnly: false,
      resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configEntries }],
    });
  } finally {
    await admin.disconnect();
  }
}
