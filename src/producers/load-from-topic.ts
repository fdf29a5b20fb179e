import { OperatorError } from '../errors.ts';
import type { LoadManifest, NewestOnTopic } from '../flow/load-manifest.ts';
import { larger } from '../flow/next-offset.ts';
import type { LoadCopy, LoadTopics } from '../ports/load.ts';

export interface LoadFromTopicOptions {
  readonly name: string;
  /** The id of the Postgres that is loaded. */
  readonly postgresId: string;
  readonly topic: string;
  readonly changesTopic: string;
  readonly topics: Pick<LoadTopics, 'lows' | 'ends' | 'changesLow' | 'changesEnds'>;
  readonly newest: () => Promise<NewestOnTopic>;
  /**
   * The key of a change behind these offsets of the changes topic that no load from `origin` can be ordered with: made
   * by somebody else, at `ts` or before. Null where there is none.
   */
  readonly earlier: (
    of: Pick<LoadManifest, 'origin' | 'ts' | 'liveOffsets'>,
    signal: AbortSignal,
  ) => Promise<string | null>;
}

/** What a target begins with that is loaded from the records of a load which was made beside another database. */
export interface LoadFromTopic {
  /**
   * The newest load. Throws an OperatorError where its records, and all changes since, are not sure to be
   * there.
   */
  find(signal: AbortSignal): Promise<LoadCopy>;
  /** Before its rows are handed over: the same once more, and that no other load has replaced records of it. */
  check(copied: string, signal: AbortSignal): Promise<void>;
}

export function createLoadFromTopic(options: LoadFromTopicOptions): LoadFromTopic {
  const { name, topics } = options;

  async function find(signal: AbortSignal): Promise<LoadCopy> {
    const newest = await options.newest();
    if (newest.kind === 'none') throw noneThere(options);
    if (newest.kind === 'unfinished') throw unfinished(options, newest.load);
    const { manifest } = newest;
    if (manifest.source !== 'delta') throw fromPostgres(options, manifest);
    if (manifest.postgresId === options.postgresId) throw sameTarget(options);
    const [lows, ends, changesLow, changesEnds] = await Promise.all([
      topics.lows(),
      topics.ends(),
      topics.changesLow(),
      topics.changesEnds(),
    ]);
    const { startOffsets, endOffsets, liveOffsets } = manifest;
    if (endOffsets.length !== ends.length || isPast(endOffsets, ends) !== null)
      throw recordsGone(options, manifest.load);
    const expired =
      liveOffsets.length === changesLow.length
        ? (isPast(changesLow, liveOffsets) ?? isPast(liveOffsets, changesEnds))
        : 0;
    if (expired !== null) throw changesGone(options, manifest, expired, changesLow);
    const key = await options.earlier(manifest, signal);
    if (key !== null) throw notInOrder(options, manifest, key);
    return {
      recordsOf: manifest.load,
      pinned: pinnedOf(manifest),
      rows: manifest.rows,
      rejected: manifest.rejected,
      // What compaction has taken away there was replaced by records of this load.
      startOffsets: startOffsets.map((start, partition) => larger(start, lows[partition] ?? start)),
      endOffsets,
      liveOffsets,
    };
  }

  return {
    find,
    async check(copied, signal) {
      const { recordsOf } = await find(signal);
      if (recordsOf === copied) return;
      throw new OperatorError({
        code: 'LOAD_TOPIC_REPLACED',
        message: `While ${name} was loaded from the records of load ${copied}, another load, ${recordsOf}, has replaced some of them.`,
        remedy: `Load that one: \`deltaferry backfill ${name} --restart --from topic\`.`,
      });
    },
  };
}

function pinnedOf({ tableId, version, ts, rows, rejected }: LoadManifest): LoadCopy['pinned'] {
  return { tableId, version, ts, rows: rows + rejected };
}

/** The first partition in which one is past the other. */
function isPast(one: readonly bigint[], other: readonly bigint[]): number | null {
  const found = one.findIndex((offset, partition) => offset > (other[partition] ?? 0n));
  return found === -1 ? null : found;
}

type Named = Pick<LoadFromTopicOptions, 'name' | 'topic' | 'changesTopic' | 'postgresId'>;

const anew = ({ name }: Named): string =>
  `Where Delta can be read and another target has loaded it before, run \`deltaferry backfill ${name}\`, then this once more; or load this target with --from delta.`;

function noneThere(about: Named): OperatorError {
  return new OperatorError({
    code: 'LOAD_TOPIC_EMPTY',
    message: `Topic ${about.topic} holds no load of ${about.name} yet.`,
    remedy: anew(about),
  });
}

function unfinished({ name, topic }: Named, load: string): OperatorError {
  return new OperatorError({
    code: 'LOAD_TOPIC_UNFINISHED',
    message: `The newest load of ${name} on topic ${topic}, ${load}, is unfinished: it replaces records of the one before it, and has not published all of its own.`,
    remedy: `Wait for it, or have it finished where it was begun: \`deltaferry backfill ${name} --resume\`, or --restart there.`,
  });
}

function fromPostgres(about: Named, { load }: LoadManifest): OperatorError {
  return new OperatorError({
    code: 'LOAD_TOPIC_SOURCE',
    message: `The newest load of ${about.name} on topic ${about.topic}, ${load}, brought rows from Postgres to Delta: they were read while they changed, and are not those of one moment.`,
    remedy: anew(about),
  });
}

function sameTarget({ name, postgresId }: Named): OperatorError {
  return new OperatorError({
    code: 'LOAD_TOPIC_SAME_TARGET',
    message: `The newest load of ${name} was made by a target that is called ${postgresId}, as this one is: both would share one consumer group, and each would take the other's changes for its own.`,
    remedy: 'Give this target a postgres.id of its own; to load the same target again use --from delta.',
  });
}

function recordsGone(about: Named, load: string): OperatorError {
  return new OperatorError({
    code: 'LOAD_TOPIC_GONE',
    message: `Topic ${about.topic} ends before the records of load ${load} do: it was deleted and created anew.`,
    remedy: anew(about),
  });
}

function changesGone(
  about: Named,
  { load, version, liveOffsets }: LoadManifest,
  partition: number,
  low: readonly bigint[],
): OperatorError {
  return new OperatorError({
    code: 'LOAD_CHANGES_GONE',
    message: `Topic ${about.changesTopic} no longer holds every change since load ${load} (version ${version}): partition ${partition} begins at offset ${low[partition]}, and is needed from ${liveOffsets[partition]} on.`,
    remedy: `${anew(about)} Keep changes longer (retention.ms) than loads are apart.`,
  });
}

function notInOrder(about: Named, { load }: LoadManifest, key: string): OperatorError {
  return new OperatorError({
    code: 'LOAD_TOPIC_CONCURRENT',
    message: `As load ${load} of ${about.name} was made, somebody was changing rows in another Postgres, for instance ${key.slice(0, 80)}: that change is older than the load's version and not in it.`,
    remedy: `${anew(about)} Either has to begin while nobody is in the middle of changing rows in the other Postgres, and once delta-merge there has caught up.`,
  });
}
