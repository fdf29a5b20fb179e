import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { manifestPosition, newestOnTopic, type LoadManifest } from '../../src/flow/load-manifest.ts';
import type { Position } from '../../src/ports/change-log.ts';
import type { PinnedVersion } from '../../src/ports/load.ts';
import { runBackfill } from '../../src/producers/backfill.ts';
import { createLoadFromTopic, type LoadFromTopic } from '../../src/producers/load-from-topic.ts';
import { beginningDeps, ENOUGH } from './beginning.ts';

const MANIFEST: LoadManifest = {
  load: 'load-1',
  source: 'delta',
  origin: 'delta',
  postgresId: 'postgres',
  tableId: 'table-1',
  version: 7,
  ts: 1_700_000_000_000_000,
  rows: 10,
  parts: 2,
  rejected: 1,
  startOffsets: [0n, 5n],
  endOffsets: [8n, 12n],
  liveOffsets: [100n, 200n],
};

interface World {
  position: Position | null;
  lows: readonly bigint[];
  ends: readonly bigint[];
  changesLow: readonly bigint[];
  changesEnds: readonly bigint[];
  earlier: string | null;
  postgresId: string;
}

function world(differences: Partial<World> = {}): {
  readonly world: World;
  readonly fromTopic: LoadFromTopic;
} {
  const made: World = {
    position: manifestPosition(MANIFEST),
    lows: [0n, 0n],
    ends: [8n, 12n],
    changesLow: [100n, 0n],
    changesEnds: [100n, 250n],
    earlier: null,
    postgresId: 'replica',
    ...differences,
  };
  const fromTopic = createLoadFromTopic({
    name: 'employees',
    postgresId: made.postgresId,
    topic: 'employees_backfill',
    changesTopic: 'employees_changes',
    topics: {
      lows: async () => made.lows,
      ends: async () => made.ends,
      changesLow: async () => made.changesLow,
      changesEnds: async () => made.changesEnds,
    },
    newest: async () => newestOnTopic(made.position, 'employees'),
    earlier: async () => made.earlier,
  });
  return { world: made, fromTopic };
}

const { signal } = new AbortController();

describe('what a load has left on the topic', () => {
  it('is found as it was noted, behind what compaction has taken away', async () => {
    const { fromTopic } = world({ lows: [3n, 0n] });
    assert.deepEqual(await fromTopic.find(signal), {
      recordsOf: 'load-1',
      pinned: { tableId: 'table-1', version: 7, ts: 1_700_000_000_000_000, rows: 11 },
      rows: 10,
      rejected: 1,
      startOffsets: [3n, 5n],
      endOffsets: [8n, 12n],
      liveOffsets: [100n, 200n],
    });
  });

  const refusals: readonly (readonly [string, Partial<World>, string, RegExp])[] = [
    ['there is none', { position: null }, 'LOAD_TOPIC_EMPTY', /no load of employees/],
    [
      'another has begun to replace it',
      { position: { load: 'load-2', parts: 1, rows: 5, rejected: 0 } },
      'LOAD_TOPIC_UNFINISHED',
      /load-2, is unfinished/,
    ],
    [
      'its rows came from Postgres',
      { position: manifestPosition({ ...MANIFEST, source: 'postgres' }) },
      'LOAD_TOPIC_SOURCE',
      /load-1/,
    ],
    ['the target has the same name', { postgresId: 'postgres' }, 'LOAD_TOPIC_SAME_TARGET', /called postgres/],
    ['its topic was made anew', { ends: [8n, 11n] }, 'LOAD_TOPIC_GONE', /ends before/],
    ['its topic has other partitions', { ends: [8n, 12n, 0n] }, 'LOAD_TOPIC_GONE', /ends before/],
    [
      'changes have expired',
      { changesLow: [101n, 0n] },
      'LOAD_CHANGES_GONE',
      /partition 0 begins at offset 101, and is needed from 100 on/,
    ],
    ['the changes topic was made anew', { changesEnds: [100n, 199n] }, 'LOAD_CHANGES_GONE', /partition 1 /],
    ['the changes topic has other partitions', { changesLow: [0n] }, 'LOAD_CHANGES_GONE', /version 7/],
    [
      'a change of somebody else is older than it and not in it',
      { earlier: '17' },
      'LOAD_TOPIC_CONCURRENT',
      /for instance 17:/,
    ],
    ['what was noted is no such thing', { position: { parts: 1 } }, 'POSITION_UNREADABLE', /"parts":1/],
    [
      'what was noted is not whole',
      { position: { ...manifestPosition(MANIFEST), end: 'x' } },
      'POSITION_UNREADABLE',
      /employees/,
    ],
  ];
  for (const [when, differences, code, words] of refusals)
    it(`is refused where ${when}`, async () => {
      await assert.rejects(world(differences).fromTopic.find(signal), (error: Error & { code?: string }) => {
        assert.equal(error.code, code);
        assert.match(error.message, words);
        return true;
      });
    });

  it('says that live changes go on where their topic ended before the version was chosen', async () => {
    let end = 5n;
    let noted: readonly bigint[] | null = null;
    const deps = beginningDeps({
      topics: { changesEnds: async () => [end] },
      source: {
        async pin(): Promise<PinnedVersion> {
          // What is committed in Delta at this moment is no part of the version, and soon on the topic.
          end += 1n;
          return { tableId: 'table-1', version: 7, ts: 1000, rows: 1 };
        },
      },
      loads: {
        async pinned(_: string, __: PinnedVersion, liveOffsets: readonly bigint[]) {
          noted = liveOffsets;
          throw ENOUGH;
        },
      },
    });
    await assert.rejects(runBackfill(deps, 'new', signal), ENOUGH);
    assert.deepEqual(noted, [5n]);
  });

  it('is not handed over once another load has replaced records of it', async () => {
    const { world: made, fromTopic } = world();
    await fromTopic.check('load-1', signal);
    made.position = manifestPosition({ ...MANIFEST, load: 'load-2' });
    await assert.rejects(fromTopic.check('load-1', signal), { code: 'LOAD_TOPIC_REPLACED' });
    made.position = { load: 'load-3', parts: 1, rows: 5, rejected: 0 };
    await assert.rejects(fromTopic.check('load-1', signal), { code: 'LOAD_TOPIC_UNFINISHED' });
  });
});
