import type { ChildProcess } from 'node:child_process';
import type { Place } from '../../src/stack/part.ts';
import { postgres } from '../../src/stack/postgres.ts';
import { until } from './until.ts';

/** Fails after a minute, and says so where the server has ended instead. */
export async function untilPostgresAnswers(child: ChildProcess, place: Place): Promise<void> {
  await until(
    'Postgres to answer',
    async () => {
      if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`);
      await postgres.ready(place);
      return true;
    },
    { timeoutMs: 60_000, everyMs: 50 },
  );
}
