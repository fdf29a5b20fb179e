import { Bell } from '../flow/bell.ts';
import { manifestPosition } from '../flow/load-manifest.ts';
import type { Load, PinnedVersion, PublishedSoFar } from '../ports/load.ts';
import { trying, type BackfillDeps, type BackfillProgress } from './backfill-deps.ts';
import { publishLoad } from './load-publisher.ts';
import { notAllRead } from './load-refusals.ts';
import { noting } from './noting.ts';

const MOST_AHEAD = 1_000_000;

/** Both at once; the failure of one ends the other. */
export async function publishAndLoad(
  deps: BackfillDeps,
  load: Load & { readonly pinned: PinnedVersion },
  pieces: readonly string[],
  progress: () => BackfillProgress,
  tell: (news: Partial<BackfillProgress>) => void,
  signal: AbortSignal,
): Promise<void> {
  const { loads, topics, loader } = deps;
  const failed = new AbortController();
  const both = AbortSignal.any([signal, failed.signal]);
  const bell = new Bell();
  const published = noting<PublishedSoFar>((so) => loads.acknowledge(load.id, so));
  const applied = noting<number>((rows) => loads.noteApplied(load.id, rows));

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
        onRead: (rows) => tell({ read: progress().read + rows }),
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
    const noted = await trying(deps, both, () => loads.newest());
    const position = manifestPosition({
      ...load.pinned,
      ...all,
      load: load.id,
      source: load.source === 'postgres' ? 'postgres' : 'delta',
      origin: deps.origin,
      postgresId: deps.postgresId,
      captured: load.captured,
      startOffsets: load.startOffsets ?? [],
      endOffsets,
      liveOffsets: noted?.liveOffsets ?? [],
    });
    let isOpen = true;
    await trying(deps, both, async () => {
      if (!isOpen) await deps.log.open();
      isOpen = false;
      await deps.log.publish({ changes: [], rejected: [], position });
    });
  }

  const ringing = (): void => bell.ring();
  both.addEventListener('abort', ringing);
  const parts = [
    publish(),
    loader.run(
      load,
      (rows) => {
        tell({ applied: rows });
        applied.note(rows);
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
  await Promise.all([published.end(), applied.end()]);
  both.removeEventListener('abort', ringing);
  if (both.aborted) throw both.reason;
}
