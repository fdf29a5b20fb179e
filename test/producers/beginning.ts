import { OperatorError } from '../../src/errors.ts';
import type { Load } from '../../src/ports/load.ts';
import type { BackfillDeps } from '../../src/producers/backfill-deps.ts';
import { FakeLeadership, FakeTopic } from './fake-log.ts';

/** Ends a load once its version is chosen. */
export const ENOUGH = new OperatorError({ code: 'ENOUGH', message: 'the version is chosen' });

export const begunLoad = (id: string): Load =>
  ({ id, source: 'delta', phase: 'snapshot', pinned: null, error: null }) as Load;

/** A load from Delta that gets as far as its version; `more` stands in the place of what it finds. */
export function beginningDeps(more: {
  readonly topic?: FakeTopic;
  readonly postgresId?: string;
  readonly id?: string;
  readonly topics?: object;
  readonly source?: object;
  readonly loads?: object;
  readonly onRetry?: (error: unknown) => void;
}): BackfillDeps {
  const { topic = new FakeTopic(), id = 'load-1' } = more;
  return {
    name: 'employees',
    postgresId: more.postgresId ?? 'postgres',
    log: topic.log(),
    leadership: new FakeLeadership().port(),
    captured: null,
    newId: () => id,
    onProgress: () => {},
    onRetry: more.onRetry ?? (() => {}),
    random: () => 0,
    topics: {
      prepare: async () => {},
      ends: async () => [0n],
      changesLow: async () => [0n],
      changesEnds: async () => [0n],
      newestLoad: async () => topic.position,
      ...more.topics,
    },
    source: {
      pin: async () => ({ tableId: 'table-1', version: 7, ts: 1000, rows: 1 }),
      ...more.source,
    },
    loads: {
      newest: async () => null,
      begin: async () => begunLoad(id),
      pinned: () => Promise.reject(ENOUGH),
      noteError: async () => {},
      ...more.loads,
    },
  } as unknown as BackfillDeps;
}
