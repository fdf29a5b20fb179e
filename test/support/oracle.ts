import type { Change } from '../../src/change/change.ts';

/** A version as the history table must hold it; times in microseconds. */
export interface ExpectedVersion {
  readonly key: string;
  readonly name: string;
  readonly salary: string;
  readonly from: number;
  readonly to: number | null;
}

export interface ExpectedHistory {
  readonly versions: readonly ExpectedVersion[];
  /** Deletes that end no version: whatever comes late before one of them must end at its time. */
  readonly orphanDeletes: readonly { readonly key: string; readonly ts: number }[];
}

/**
 * What a history must hold after these changes, given in the order of the topic, worked out as slowly
 * and as plainly as can be. It shares nothing but types with the code that it judges.
 */
export function expectedHistory(changes: readonly Change[]): ExpectedHistory {
  const byKey = new Map<string, Change[]>();
  for (const change of changes) byKey.set(change.key, [...(byKey.get(change.key) ?? []), change]);

  const versions: ExpectedVersion[] = [];
  const orphanDeletes: { key: string; ts: number }[] = [];
  for (const [key, ofKey] of byKey) {
    const times = [...new Set(ofKey.map(({ ts }) => Number(ts)))].sort((one, other) => one - other);
    // Of several changes at one time the last to arrive counts.
    const at = (time: number): Change => ofKey.findLast(({ ts }) => Number(ts) === time)!;
    for (const time of times) {
      const { op, after } = at(time);
      const later = times.find((other) => other > time);
      const earlier = times.findLast((other) => other < time);
      if (op !== 'delete')
        versions.push({
          key,
          name: String(after![1]),
          salary: String(after![2]),
          from: time,
          to: later ?? null,
        });
      else if (earlier === undefined || at(earlier).op === 'delete') orphanDeletes.push({ key, ts: time });
    }
  }
  return { versions, orphanDeletes };
}
