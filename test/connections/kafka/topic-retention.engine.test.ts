import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { topicRetention } from '../../../src/connections/kafka/topic-retention.ts';
import { ownTopics, type OwnTopics } from './own-topics.ts';

describe('how long a topic keeps its records', () => {
  let own: OwnTopics;
  before(() => {
    own = ownTopics('retention');
  });
  after(() => own.drop());

  const cases: Readonly<Record<string, { config: Readonly<Record<string, string>>; ms: number | null }>> = {
    limited: { config: { 'retention.ms': '3600000' }, ms: 3_600_000 },
    'for-ever': { config: { 'retention.ms': '-1' }, ms: null },
    'for-ever-in-effect': { config: { 'retention.ms': '9223372036854775807' }, ms: null },
    compacted: { config: { 'cleanup.policy': 'compact', 'retention.ms': '3600000' }, ms: null },
  };
  for (const [name, { config, ms }] of Object.entries(cases))
    it(`is what the broker says: ${name}`, async () => {
      assert.equal(await topicRetention(own.kafka, await own.topic(name, 1, config)), ms);
    });

  it('is not known of one that does not exist', async () => {
    assert.equal(await topicRetention(own.kafka, `${own.prefix}-nowhere`), null);
  });
});
