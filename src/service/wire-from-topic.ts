import { newestOnTopic } from '../flow/load-manifest.ts';
import type { LoadTopics } from '../ports/load.ts';
import { createLoadFromTopic, type LoadFromTopic } from '../producers/load-from-topic.ts';
import { earlierOfOthers, type OthersOptions } from './wire-others-way.ts';

/** The newest load on a table's topic, for a database that did not make it. Databricks is not asked. */
export function wireFromTopic(wired: OthersOptions & { readonly topics: LoadTopics }): LoadFromTopic {
  const { config, table, topics } = wired;
  return createLoadFromTopic({
    name: table.name,
    postgresId: config.postgres.id,
    topic: table.backfillTopic,
    changesTopic: table.topic,
    topics,
    newest: async () => newestOnTopic(await topics.newestLoad(), table.name),
    earlier: (of, signal) => earlierOfOthers(wired, of, signal),
  });
}
