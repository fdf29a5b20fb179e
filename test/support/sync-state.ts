import type { Site } from './site.ts';
import { topicEnds } from './topic-ends.ts';
import type { Worker } from './worker.ts';

const LAST_LINES = 3;
const WARNING = 40;

/** Where everything stands that has to do with a site's sync, for a test that waits in vain: a line each. */
export async function syncState({ kafka, topic, pool }: Site, workers: readonly Worker[]): Promise<string> {
  const { rows: groups } = await pool.query<{ id: string; offsets: string }>(
    `SELECT group_id AS id, string_agg(partition || ':' || next_offset, ' ' ORDER BY partition) AS offsets
     FROM deltaferry.offsets GROUP BY group_id`,
  );
  const { rows: marks } = await pool.query<object>(
    'SELECT epoch, pending, pending_since, updated_at FROM deltaferry.merge_marks',
  );
  const { rows: locks } = await pool.query<object>(
    `SELECT a.pid, a.application_name AS name, l.granted, a.state, a.state_change FROM pg_locks AS l
     JOIN pg_stat_activity AS a USING (pid) WHERE l.locktype = 'advisory' ORDER BY l.granted DESC, a.pid`,
  );
  const admin = kafka.admin();
  await admin.connect();
  const described = await admin.describeGroups(groups.map(({ id }) => id)).finally(() => admin.disconnect());
  return [
    `now ${new Date().toISOString()}, decided up to ${(await topicEnds(kafka, topic)).join(' ')}`,
    ...groups.map(({ id, offsets }) => `${id} is at ${offsets}`),
    ...described.groups.map(
      ({ groupId, state, members }) =>
        `${groupId} is ${state}: ${members.map(({ memberId, memberAssignment }) => `${memberId} ${memberAssignment.toString('latin1').replaceAll(/[^\w,]+/g, '.')}`).join('; ')}`,
    ),
    ...[...marks, ...locks].map((row) => JSON.stringify(row)),
    ...workers.flatMap(({ pid, lines }) => {
      const merges = lines.filter((line) => line['sink'] === 'delta-merge' && line['kafkajs'] === undefined);
      const troubles = merges.filter(({ level }) => level >= WARNING);
      return [...troubles.slice(-LAST_LINES), ...merges.slice(-LAST_LINES)].map(
        (line) => `worker ${pid}: ${JSON.stringify(line).slice(0, 300)}`,
      );
    }),
  ].join('\n');
}
