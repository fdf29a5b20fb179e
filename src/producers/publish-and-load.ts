import { Bell } from '../flow/bell.ts';
import { manifestPosition } from '../flow/load-manifest.ts';
import type { Load, PinnedLoad, PublishedSoFar } from '../ports/load.ts';
import { trying, type BackfillDeps, type BackfillProgress } from './backfill-deps.ts';
import { openedFor } from './load-claim.ts';
import { publishLoad } from './load-publisher.ts';
import { notAllRead } from './load-refusals.ts';
import { noting } from './noting.ts';

const MOST_AHEAD = 1_000_000;

/** Both at once; the failure of one ends the other. */
export async function publishAndLoad(
  deps: BackfillDeps,
  load: PinnedLoad,
  pieces: readonly string[],
  progress: () => BackfillProgress,
  tell: (news: Partial<BackfillProgress>) => void,
  signal: AbortSignal,
): Promise<void> {
  const { loads, topics } = deps;
  const failed = new AbortController();
  const both = AbortSignal.any([signal, failed.signal]);
  const bell = new Bell();
  const published = noting<PublishedSoFar>((so) => loads.acknowledge(load.id, so));

  async function publish(): Promise<void> {
    const all = await publishLoad(
      {
        ...deps,
        load: load.id,
        pinned: load.pinned,
        pieces,
        async room({ rows }, signal) {
          for (;;) {
            const { rings } = bell;
            if (signal.aborted || rows - progress().applied <= (deps.mostAhead ?? MOST_AHEAD)) return;
            await bell.rung(rings);
          }
        },
        onRead: (read) => tell({ read }),
        onPublished(so) {
          tell({ published: so.rows, rejected: so.rejected });
          published.note(so);
        },
      },
      both,
    );
    // A table in Postgres goes on being changed: its count says how far the load is, and no more.
    if (load.source === 'delta' && all.rows + all.rejected !== load.pinned.rows) throw notAllRead(load, all);
    await published.end();
    await trying(deps, both, () => loads.acknowledge(load.id, all));
    const ends = await trying(deps, both, () => topics.ends());
    await publishManifest(all, ends);
    await trying(deps, both, () => loads.published(load.id, ends));
  }

  /** Before the load's phase moves on: where that is not done yet, whoever resumes comes by here again. */
  async function publishManifest(all: PublishedSoFar, endOffsets: readonly bigint[]): Promise<void> {
    const position = manifestPosition({
      ...load.pinned,
      ...all,
      load: load.id,
      source: load.source === 'postgres' ? 'postgres' : 'delta',
      origin: deps.origin,
      postgresId: deps.postgresId,
      startOffsets: load.startOffsets ?? [],
      endOffsets,
      liveOffsets: load.liveOffsets ?? [],
    });
    let isOpen = true;
    await trying(deps, both, async () => {
      if (!isOpen) await openedFor(deps, load.id);
      isOpen = false;
      await deps.log.publish({ changes: [], rejected: [], position });
    });
  }

  const ringing = (): void => bell.ring();
  both.addEventListener('abort', ringing);
  const parts = [
    publish(),
    runLoader(
      deps,
      load,
      (applied) => {
        tell({ applied });
        bell.ring();
      },
      both,
    ),
  ].map((part) =>
    part.catch((error: unknown) => {
      failed.abort(error);
      throw error;
    }),
  );
  await Promise.allSettled(parts);
  await published.end();
  both.removeEventListener('abort', ringing);
  if (both.aborted) throw both.reason;
}

/** Until it has all that is published, and how much that is has been noted. */
export async function runLoader(
  { loads, loader }: Pick<BackfillDeps, 'loads' | 'loader'>,
  load: Load,
  onApplied: (rows: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const applied = noting<number>((rows) => loads.noteApplied(load.id, rows));
  try {
    await loader.run(
      load,
      (rows) => {
        onApplied(rows);
        applied.note(rows);
      },
      signal,
    );
  } finally {
    await applied.end();
  }
}
