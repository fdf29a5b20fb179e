import assert from 'node:assert/strict';
import type { Site } from './site.ts';
import { committedRecords } from './topic-check.ts';
import type { LogLine } from './worker.ts';

/** Offsets of a merge that a worker began: of each partition those from `from` to before `next`. */
export interface BegunMerge {
  readonly from: Readonly<Record<string, string>>;
  readonly next: Readonly<Record<string, string>>;
}

/** The merge that had begun and not ended when the last line was written. */
export function mergeInHand(lines: readonly LogLine[]): BegunMerge | null {
  const newest = lines.findLast(({ msg }) => msg === 'merge begins' || msg === 'merge ends');
  return newest?.msg === 'merge begins' ? begunMerge(newest) : null;
}

function begunMerge(line: LogLine): BegunMerge {
  return { from: line['from'] as BegunMerge['from'], next: line['next'] as BegunMerge['next'] };
}

/** How long a merge takes about, milliseconds. */
export function usualMergeMs(lines: readonly LogLine[]): number {
  const times: number[] = [];
  let began: number | null = null;
  for (const line of lines) {
    const at = Date.parse(String(line['time']));
    if (line.msg === 'merge begins') began = at;
    if (line.msg === 'merge ends' && began !== null) times.push(at - began);
    if (line.msg === 'merge ends') began = null;
  }
  return times.sort((one, other) => one - other)[Math.floor(times.length / 2)] ?? 1000;
}

/** The mark of a merge as a commit or the control schema shows it. */
export interface FoundMark {
  readonly epoch: number;
  /** `0:1042,1:977` */
  readonly next: string;
}

const MARK = /deltaferry\/[^ ]+ e(\d+) ([\d:,]+)/;

export function parsedMark(text: string): FoundMark | null {
  const found = MARK.exec(text);
  return found === null ? null : { epoch: Number(found[1]), next: found[2]! };
}

/** Of the commits in the table's history, the oldest first. */
export async function landedMarks({ warehouse, deltaTable }: Site): Promise<FoundMark[]> {
  const rows = await warehouse.query({ doing: 'looking', sql: `DESCRIBE HISTORY ${deltaTable}` });
  return rows
    .toReversed()
    .flatMap(({ operationParameters }) => parsedMark(JSON.stringify(operationParameters)) ?? []);
}

/** The mark of the merge that somebody noted and nobody has settled. */
export async function pendingMark({ pool }: Site): Promise<FoundMark | null> {
  const { rows } = await pool.query<{ pending: string | null }>('SELECT pending FROM deltaferry.merge_marks');
  const pending = rows[0]?.pending ?? null;
  return pending === null ? null : parsedMark(pending);
}

/** Where each key's newest record lies. */
export type Places = ReadonlyMap<string, { readonly partition: number; readonly offset: bigint }>;

/**
 * Each record on the topic is in exactly one of the merges that the table's history shows, and those follow
 * one another. For topics on which every record is a change for the table. `lines`: of all workers.
 */
export async function assertMergedOnce(
  site: Site,
  lines: readonly LogLine[],
  hint: string,
): Promise<{ readonly merges: number; readonly places: Places }> {
  const begun = new Map<string, BegunMerge[]>();
  for (const line of lines) {
    if (line.msg !== 'merge begins') continue;
    const merge = begunMerge(line);
    begun.set(textOf(merge.next), [...(begun.get(textOf(merge.next)) ?? []), merge]);
  }
  const places = new Map<string, { partition: number; offset: bigint }>();
  const left = new Map<number, bigint[]>();
  for (const [partition, records] of await committedRecords(site.kafka, site.topic)) {
    left.set(
      partition,
      records.map(({ offset }) => offset),
    );
    for (const { key, offset } of records) places.set(Buffer.from(key!).toString(), { partition, offset });
  }
  const at = new Map([...left.keys()].map((partition) => [partition, 0n]));
  const marks = await landedMarks(site);
  for (const { epoch, next } of marks) {
    const fits = begun.get(sorted(next))?.find(({ from }) =>
      Object.entries(from).every(([partition, text]) => {
        const first = left.get(Number(partition))?.[0];
        return BigInt(text) >= at.get(Number(partition))! && (first === undefined || BigInt(text) <= first);
      }),
    );
    assert.ok(
      fits !== undefined,
      `a merge of epoch ${epoch} to ${next} does not follow those before it, at ${JSON.stringify([...at].map(([partition, offset]) => `${partition}:${offset}`))}; begun from ${JSON.stringify(begun.get(sorted(next)))}, ${hint}`,
    );
    for (const [partition, text] of Object.entries(fits.next)) {
      at.set(Number(partition), BigInt(text));
      left.set(
        Number(partition),
        left.get(Number(partition))!.filter((offset) => offset >= BigInt(text)),
      );
    }
  }
  for (const [partition, offsets] of left)
    assert.equal(
      offsets.length,
      0,
      `partition ${partition}: no merge of ${offsets.slice(0, 5).join()}, ${hint}`,
    );
  return { merges: marks.length, places };
}

function textOf(offsets: BegunMerge['next']): string {
  return Object.keys(offsets)
    .map(Number)
    .sort((one, other) => one - other)
    .map((partition) => `${partition}:${offsets[partition]}`)
    .join(',');
}

function sorted(next: string): string {
  return textOf(Object.fromEntries(next.split(',').map((part) => part.split(':'))));
}
